cimport cython

from kestrel.disk cimport AppendFile
from kestrel.item cimport Item
from kestrel.journal.record cimport addx_header, flags_header, xid_record


cdef class Journal:
    cdef readonly bytes name
    cdef readonly double period
    cdef object _disk
    cdef object _clock
    cdef object _syncer
    cdef bytes _spool
    cdef AppendFile _file
    cdef list _archived
    cdef object _on_error
    cdef bint _keep_deliveries
    cdef bint _each
    cdef bint _synced
    cdef bint _scheduled
    cdef object _pending
    cdef object _pending_lock
    cdef object _outage
    cdef object _works_since
    cdef bint _settling
    cdef bint _closed

    @cython.locals(data=bytes, header=bytes, file=AppendFile)
    cpdef add(self, Item item, bint durable=*, long long discarded=*)
    cpdef remove(self, long long count=*)
    cpdef remove_tentative(self, int xid)
    cpdef unremove(self, int xid)
    cpdef confirm(self, int xid, bint last=*)
    cpdef sync(self)
    cdef _write(self, bytes record)
    cdef _keep(self, bytes record)
    cdef _sync(self)
    cdef _first_unsynced(self)
