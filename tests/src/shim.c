/* Tests preload this into ranks: ways to end or hang that nothing outside can cause, each on a signal of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t clock_fails;

/* Rust's clock panics when the system's clock fails. */
int clock_gettime(clockid_t id, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (clock_fails)
        return -1;
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real(id, time);
}

static void act(int signal) {
    switch (signal - SIGRTMIN) {
    case 0:
        _exit(0);
    case 1:
        _exit(3);
    case 2: {
        int (*stop_all)(void *, int) = (int (*)(void *, int))dlsym(RTLD_DEFAULT, "MPI_Abort");
        if (stop_all)
            stop_all(dlsym(RTLD_DEFAULT, "ompi_mpi_comm_world"), 7);
        _exit(7);
    }
    case 3:
        clock_fails = 1;
        break;
    case 4:
        *(volatile int *)0 = 1;
    case 5:
        for (;;)
            pause();
    }
}

__attribute__((constructor)) static void begin(void) {
    for (int i = 0; i < 6; i++)
        signal(SIGRTMIN + i, act);
}
