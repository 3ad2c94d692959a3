"""The system's clocks for clock.pxd: a Python call, its answer an object, costs five times what the clock does."""

cdef extern from *:
    """
    #include <time.h>

    static inline double kestrel_monotonic(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }

    static inline long long kestrel_time_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    """
    double monotonic "kestrel_monotonic" ()
    long long time_ns "kestrel_time_ns" ()
