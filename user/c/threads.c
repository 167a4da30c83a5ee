/* Uses most of pthreads: mutexes, conditions, barriers, thread-local data, keys,
   semaphores, read-write locks, cancellation, and robust mutexes. */

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { THREADS = 6, ROUNDS = 2000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static pthread_cond_t emptied = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_key_t key;
static sem_t semaphore;
static __thread long local = 7;
static long total, slot, is_full, destroyed;

static void destroy(void *value)
{
    __atomic_add_fetch(&destroyed, (long)(intptr_t)value, __ATOMIC_SEQ_CST);
}

static void *count(void *argument)
{
    long number = (long)(intptr_t)argument;
    pthread_setspecific(key, argument);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        total += number;
        pthread_mutex_unlock(&mutex);
        local += 1;
        if (i % 100 == 0) {
            pthread_rwlock_wrlock(&rwlock);
            pthread_rwlock_unlock(&rwlock);
        } else {
            pthread_rwlock_rdlock(&rwlock);
            pthread_rwlock_unlock(&rwlock);
        }
    }
    sem_post(&semaphore);
    return (void *)(intptr_t)local;
}

static void *produce(void *argument)
{
    (void)argument;
    for (long i = 1; i <= ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        while (is_full)
            pthread_cond_wait(&emptied, &mutex);
        slot = i;
        is_full = 1;
        pthread_cond_signal(&filled);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static long consume(void)
{
    long sum = 0;
    for (long i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        while (!is_full)
            pthread_cond_wait(&filled, &mutex);
        sum += slot;
        is_full = 0;
        pthread_cond_signal(&emptied);
        pthread_mutex_unlock(&mutex);
    }
    return sum;
}

static void *wait_for_ever(void *argument)
{
    (void)argument;
    struct timespec day = {86400, 0};
    for (;;)
        nanosleep(&day, NULL);
    return NULL;
}

static pthread_mutex_t robust;

static void *die_with_it(void *argument)
{
    (void)argument;
    pthread_mutex_lock(&robust);
    return NULL;
}

static void counters(void)
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_key_create(&key, destroy);
    sem_init(&semaphore, 0, 0);
    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count, (void *)(intptr_t)(i + 1));
    for (int i = 0; i < THREADS; i++)
        sem_wait(&semaphore);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        printf("thread %d counted to %ld\n", i, (long)(intptr_t)result);
    }
    printf("total %ld, of my own %ld, destroyed %ld\n", total, local, destroyed);
}

static void robustness(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);
    pthread_t thread;
    pthread_create(&thread, NULL, die_with_it, NULL);
    pthread_join(thread, NULL);
    int result = pthread_mutex_lock(&robust);
    printf("mutex of a dead owner: %s\n", result == EOWNERDEAD ? "EOWNERDEAD" : "other");
    pthread_mutex_consistent(&robust);
    printf("unlock: %d\n", pthread_mutex_unlock(&robust));
}

int main(void)
{
    counters();

    pthread_t producer;
    pthread_create(&producer, NULL, produce, NULL);
    printf("consumed %ld\n", consume());
    pthread_join(producer, NULL);

    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 2000000;
    if (soon.tv_nsec >= 1000000000) {
        soon.tv_sec++;
        soon.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&mutex);
    int timed = pthread_cond_timedwait(&filled, &mutex, &soon);
    pthread_mutex_unlock(&mutex);
    printf("wait with a time-out: %s\n", timed == ETIMEDOUT ? "ETIMEDOUT" : "other");

    pthread_t sleeper;
    void *result;
    pthread_create(&sleeper, NULL, wait_for_ever, NULL);
    pthread_cancel(sleeper);
    pthread_join(sleeper, &result);
    printf("cancelled: %d\n", result == PTHREAD_CANCELED);
    robustness();
    return 0;
}
