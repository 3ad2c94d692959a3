cimport cython

from kestrel.append_file cimport AppendFile
from kestrel.item cimport Item
from kestrel.journal.record cimport addition, addx_header, addx_record, flags_header, xid_record
from kestrel.journal.series cimport Series


cdef class Journal:
    cdef readonly bytes name
    cdef readonly double period
    cdef readonly object disk
    cdef readonly object hub
    cdef public bint keep_deliveries
    cdef public object queue
    cdef public object suspect
    cdef public long long answered
    cdef public long long serial
    cdef public AppendFile file
    cdef public AppendFile twin
    cdef public object state
    cdef public Series files
    cdef readonly object clock
    cdef object _syncer
    cdef object _on_error
    cdef bint _each
    cdef bint _syncs
    cdef bint _synced
    cdef bint _scheduled
    cdef bint _queued
    cdef bint _syncing
    cdef object _next
    cdef object _running
    cdef object _covered
    cdef list _covered_rotated
    cdef long long _covered_size
    cdef object _last_job
    cdef object _outage
    cdef bint _closed
    cdef object _pending
    cdef object _pending_lock
    cdef bint _is_pending

    cpdef long long total(self)
    @cython.locals(data=bytes, header=bytes, file=AppendFile)
    cpdef add(self, Item item, bint durable=*, long long discarded=*)
    @cython.locals(item=Item, record=bytes, file=AppendFile, offset='long long', parts=list)
    cpdef add_many(self, list items, list offsets)
    cpdef remove(self, long long count=*)
    cpdef remove_all(self, long long count)
    cpdef remove_tentative(self, int xid, bytes before=*)
    cpdef unremove(self, int xid)
    cpdef confirm(self, int xid)
    cpdef confirm_record(self, int xid)
    cpdef bint is_choked(self)
    @cython.locals(file=AppendFile)
    cdef _write(self, bytes record)
    cpdef make_room(self)
    cdef _keep(self, bytes record)
    cpdef commit(self)
    cdef _hurry(self)
    cdef _first_unsynced(self)
