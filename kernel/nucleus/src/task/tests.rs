//! Do tasks take turns, end, and wake each other?
