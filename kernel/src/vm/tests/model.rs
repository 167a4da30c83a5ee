//! Do random scripts of calls do to an address space what they do to a vector of pages?
//!
//! The model is a page's rights, and the byte that was written to it last. The script
//! maps, unmaps, protects, writes, reads, forgets, moves and forks; after each step the
//! regions of both are compared, and now and then the contents.

use alloc::sync::Arc;
use alloc::vec::Vec;

use nucleus::mm::{PAGE_SIZE, PageFlags, VmSpace};
use nucleus::prelude::*;

use super::super::{Advice, RemapRequest};
use super::{
    Access, AccessError, AddressSpace, BASE, Errno, MapRequest, Placement, UserRange, range,
};

/// Pages that the scripts are about.
const PAGES: usize = 24;

/// A page that means something: what may be done, and what its first byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    protection: PageFlags,
    byte: u8,
}

/// An address space, and what it should be.
struct Pair {
    memory: Arc<AddressSpace>,
    model: [Option<Page>; PAGES],
}

/// A generator of numbers, the same each time.
struct Numbers(usize);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }

    /// Returns the first of some pages and how many they are.
    fn pages(&mut self) -> (usize, usize) {
        let first = self.below(PAGES);
        (first, 1 + self.below((PAGES - first).min(8)))
    }

    fn protection(&mut self) -> PageFlags {
        [PageFlags::empty(), PageFlags::R, PageFlags::RW][self.below(3)]
    }
}

fn address(page: usize) -> usize {
    BASE + page * PAGE_SIZE
}

impl Pair {
    fn step(&mut self, numbers: &mut Numbers) {
        let (first, count) = numbers.pages();
        let (pages, there) = (first..first + count, range(address(first), count));
        let protection = numbers.protection();
        match numbers.below(7) {
            0 => self.map(pages, protection),
            1 => {
                assert_eq!(self.memory.unmap(&there), Ok(()));
                self.model[pages].fill(None);
            }
            2 => self.protect(pages, &there, protection),
            3 => self.write(first, numbers.below(255) as u8 + 1),
            4 => self.read(first),
            5 => self.forget(pages, &there),
            _ => self.swap_out_and_in(pages, &there),
        }
    }

    fn map(&mut self, pages: core::ops::Range<usize>, protection: PageFlags) {
        let len = pages.len() * PAGE_SIZE;
        let request = MapRequest::anonymous(len, protection);
        let start = address(pages.start);
        let mapped = self.memory.map(&request.placed(start, Placement::Fixed));
        assert_eq!(mapped, Ok(start));
        let byte = 0;
        self.model[pages].fill(Some(Page { protection, byte }));
    }

    fn protect(
        &mut self,
        pages: core::ops::Range<usize>,
        there: &UserRange,
        protection: PageFlags,
    ) {
        let protected = self.memory.protect(there, protection);
        let end = pages.end;
        let hole = pages.clone().find(|page| self.model[*page].is_none());
        let expected = hole.map_or(Ok(()), |_| Err(Errno::NoMemory));
        assert_eq!(protected, expected);
        for page in pages.start..hole.unwrap_or(end) {
            if let Some(page) = &mut self.model[page] {
                page.protection = protection;
            }
        }
    }

    fn write(&mut self, page: usize, byte: u8) {
        let written = self.memory.write_bytes(address(page), &[byte]);
        let may = self.model[page]
            .as_mut()
            .filter(|page| page.protection.contains(PageFlags::W));
        match may {
            None => assert_eq!(written, Err(Errno::Fault)),
            Some(page) => {
                assert_eq!(written, Ok(()));
                page.byte = byte;
            }
        }
    }

    fn read(&self, page: usize) {
        let read = self.memory.read_value::<[u8; 1]>(address(page));
        let may = self.model[page].filter(|page| !page.protection.is_empty());
        assert_eq!(read, may.map_or(Err(Errno::Fault), |page| Ok([page.byte])));
    }

    fn forget(&mut self, pages: core::ops::Range<usize>, there: &UserRange) {
        let advice = Advice::DontNeed { locked_too: false };
        let advised = self.memory.advise(there, advice);
        let found = &mut self.model[pages];
        let has_hole = found.iter().any(Option::is_none);
        assert_eq!(advised.is_err(), has_hole);
        found.iter_mut().flatten().for_each(|page| page.byte = 0);
    }

    /// Moves pages away and back, if they are one region.
    fn swap_out_and_in(&mut self, pages: core::ops::Range<usize>, there: &UserRange) {
        const ELSEWHERE: usize = 0x7000_0000;
        let request = |from, to| RemapRequest {
            address: from,
            old_len: there.len(),
            new_len: there.len(),
            may_move: true,
            target: Some(to),
            keeps_old: false,
        };
        let moved = self.memory.remap(&request(there.start(), ELSEWHERE));
        let first = self.model[pages.start].map(|page| page.protection);
        let is_region = |page: &Option<Page>| page.map(|page| page.protection) == first;
        if first.is_none() || !self.model[pages].iter().all(is_region) {
            assert_eq!(moved, Err(Errno::Fault));
            return;
        }
        assert_eq!(moved, Ok(ELSEWHERE));
        let gone = self.memory.handle_fault(there.start(), Access::Read);
        assert_eq!(gone, Err(AccessError::Unmapped));
        let back = self.memory.remap(&request(ELSEWHERE, there.start()));
        assert_eq!(back, Ok(there.start()));
    }

    fn check_regions(&self) {
        let regions = self.memory.regions().expect("enough memory");
        for (page, expected) in self.model.iter().enumerate() {
            let found = regions
                .iter()
                .find(|region| region.range.contains(&address(page)));
            let found = found.map(|region| region.protection);
            assert_eq!(found, expected.map(|page| page.protection));
        }
    }

    fn fork(&self) -> Self {
        Self {
            memory: self.memory.fork().expect("enough memory"),
            model: self.model,
        }
    }
}

#[ktest]
fn random_scripts_agree_with_a_vector_of_pages_in_parents_and_children() {
    let mut numbers = Numbers(1);
    let mut pairs: Vec<Pair> = Vec::from([Pair {
        memory: AddressSpace::new().expect("enough memory"),
        model: [None; PAGES],
    }]);
    for step in 0..600 {
        let index = numbers.below(pairs.len());
        let pair = &mut pairs[index];
        pair.memory.activate();
        for _ in 0..4 {
            pair.step(&mut numbers);
        }
        pair.check_regions();
        if step % 8 == 0 {
            (0..PAGES).for_each(|page| pair.read(page));
        }
        match numbers.below(12) {
            0 if pairs.len() < 4 => {
                let child = pairs[index].fork();
                pairs.push(child);
            }
            1 if pairs.len() > 1 => {
                VmSpace::deactivate_current();
                pairs.swap_remove(index);
            }
            _ => {}
        }
    }
    VmSpace::deactivate_current();
}

#[ktest]
fn pages_that_exist_are_counted_exactly_whatever_happened() {
    let mut numbers = Numbers(7);
    let mut pair = Pair {
        memory: AddressSpace::new().expect("enough memory"),
        model: [None; PAGES],
    };
    pair.memory.activate();
    for _ in 0..400 {
        pair.step(&mut numbers);
        let all = range(BASE, PAGES);
        let counted = pair.memory.count_pages(&all).expect("a legal range");
        assert_eq!(pair.memory.sizes().resident, counted * PAGE_SIZE);
    }
    VmSpace::deactivate_current();
}
