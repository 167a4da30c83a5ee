/* Stresses malloc, with several threads, and checks every byte of what it gave. */

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, SLOTS = 200, ROUNDS = 6000 };

struct block {
    unsigned char *bytes;
    size_t size;
    unsigned char mark;
};

static unsigned next(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Mostly small blocks, some of many pages, which come by mmap. */
static size_t pick_size(unsigned *state)
{
    unsigned kind = next(state) % 100;
    if (kind < 80)
        return next(state) % 512 + 1;
    if (kind < 98)
        return next(state) % 20000 + 1;
    return next(state) % 400000 + 130000;
}

static unsigned check(const struct block *block)
{
    unsigned bad = 0;
    for (size_t i = 0; i < block->size; i++)
        bad += block->bytes[i] != block->mark;
    return bad;
}

static void *work(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument * 7919u + 1;
    struct block slots[SLOTS] = {0};
    uintptr_t bad = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct block *block = &slots[next(&state) % SLOTS];
        bad += check(block);
        size_t size = pick_size(&state);
        if (block->bytes && next(&state) % 4 == 0) {
            size_t kept = size < block->size ? size : block->size;
            unsigned char *moved = realloc(block->bytes, size);
            struct block grown = {moved, kept, block->mark};
            bad += moved ? check(&grown) : 1;
            block->bytes = moved;
        } else {
            free(block->bytes);
            block->bytes = malloc(size);
        }
        if (!block->bytes)
            abort();
        block->size = size;
        block->mark = (unsigned char)next(&state);
        memset(block->bytes, block->mark, size);
    }
    for (int i = 0; i < SLOTS; i++) {
        bad += check(&slots[i]);
        free(slots[i].bytes);
    }
    return (void *)bad;
}

int main(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i))
            return 2;
    uintptr_t bad = 0;
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        bad += (uintptr_t)result;
    }
    printf("bad bytes: %lu\n", (unsigned long)bad);
    unsigned char *zeros = calloc(1, 32 << 20);
    unsigned long sum = 0;
    for (size_t i = 0; i < 32 << 20; i += 512)
        sum += zeros[i];
    printf("sum of cleared memory: %lu\n", sum);
    free(zeros);
    printf("trimmed: %d\n", malloc_trim(0) >= 0);
    return bad != 0;
}
