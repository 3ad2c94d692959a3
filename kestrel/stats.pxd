cimport cython

from kestrel.cells cimport cells_of, free_cells, more_cells, no_cells

cdef long long _LARGEST
cdef long long _TABLED
cdef int MIDDLE
cdef long long MIDDLE_END
cdef int UPPER
cdef Py_ssize_t _BUCKETS
cdef Py_ssize_t _NARROW
cdef bytes _TABLE
cdef bytes _MIDDLE_TABLE
cdef bytes _UPPER_TABLE
# with Cython 0.29 a byte of bytes is an object
cdef const unsigned char *_BUCKET_OF
cdef const unsigned char *_MIDDLE_FROM
cdef const unsigned char *_UPPER_FROM
cdef long long *_ENDS


cdef class Histogram:
    cdef long long *buckets
    cdef readonly long long count
    cdef readonly long long sum
    cdef Py_ssize_t size
    cdef readonly long long dropped

    @cython.locals(bucket=Py_ssize_t)
    cpdef add(self, long long value)
    cdef _widen(self)
    @cython.locals(bucket=Py_ssize_t, found=list)
    cpdef list pairs(self)


cdef class TransportStats:
    cdef public long long connections
    cdef public long long connects
    cdef public long long closes
    cdef public long long received_bytes
    cdef public long long sent_bytes
    cdef public long long requests
    cdef public long long success
    cdef public Histogram connection_duration
    cdef public Histogram connection_received_bytes
    cdef public Histogram connection_sent_bytes
    cdef public Histogram request_latency_ms


cdef class Traffic:
    cdef public long long bytes_read
    cdef public long long bytes_written


cdef class ServerStats(Traffic):
    cdef readonly Traffic thrift
    cdef public long long connections
    cdef public long long total_connections
    cdef public long long total_items
    cdef public long long cmd_get
    cdef public long long cmd_set
    cdef public long long cmd_peek
    cdef public long long cmd_monitor
    cdef public long long cmd_monitor_get
    cdef public long long get_hits
    cdef public long long get_misses
    cdef public long long queue_creates
    cdef public long long queue_deletes
    cdef public long long queue_expires
    cdef public long long cmd_get_open_dropped
    cdef public long long waiters_aborted
    cdef public long long journal_errors
    cdef public dict fsync_errors
    cdef public dict transports
    cdef public dict kept
    cdef public Histogram set_latency_usec
    cdef public Histogram get_hit_latency_usec
    cdef public Histogram get_miss_latency_usec
    cdef public Histogram get_timeout_msec
    cdef public Histogram delivery_latency_msec
    cdef public Histogram fsync_delay_usec
    cdef public Histogram item_fsync_delay_usec


cdef class QueueStats:
    cdef public long long put_items
    cdef public long long put_bytes
    cdef public long long get_items_hit
    cdef public long long get_items_miss
    cdef public long long expired_items
    cdef public long long discarded
    cdef public long long transactions
    cdef public long long canceled_transactions
    cdef public long long total_flushes
    cdef public long long journal_rewrites
    cdef public long long journal_rotations
    cdef public long long dead_letters
    cdef public Histogram set_latency_usec
    cdef public Histogram get_hit_latency_usec
    cdef public Histogram get_miss_latency_usec
    cdef public Histogram get_timeout_msec
    cdef public Histogram delivery_latency_msec
    cdef public Histogram tx_map_size
    cdef public Histogram tx_expire_list_size
    cdef public Histogram queue_size
    cdef public Histogram request_size
    cdef public Histogram journal_rewrite_usec
    cdef public Histogram journal_rotation_usec
    cdef public Histogram fill_readbehind_usec
    cdef public dict kept
