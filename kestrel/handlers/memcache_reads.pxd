cimport cython

from kestrel.byte_calls cimport join7
from kestrel.item cimport Item
from kestrel.protocol.memcache cimport MemcacheParser
from kestrel.session cimport Session

cdef char SLASH
cdef bytes VALUE
cdef bytes LINE_END
cdef bytes LINE_END_AND_END
cdef list _DECIMAL
cdef dict _KEYS
cdef Py_ssize_t MOST_KEYS
cdef int DECIMALS


cdef class GetKey:
    cdef readonly bytes name
    cdef readonly long long timeout
    cdef readonly bint open
    cdef readonly bint close
    cdef readonly bint abort
    cdef readonly bint peek

    cpdef bint fetches(self)


@cython.locals(key=GetKey)
cdef GetKey key_of(bytes word)

@cython.locals(name=bytes, words=list, item=Item, key=GetKey)
cpdef do_get(Session session, MemcacheParser request)

@cython.locals(name=bytes, count='long long')
cdef _get_key(Session session, GetKey key, bint checked)
cdef _check_fetch(Session session, bytes name, bint opening, long long count)

@cython.locals(data=bytes, length=bytes, flags=bytes, line_end=bytes, size=Py_ssize_t)
cdef bytes _value(MemcacheParser request, bytes name, Item item, bytes tail)
