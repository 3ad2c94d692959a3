cimport cython

from kestrel.connection cimport Connection
from kestrel.item cimport Item
from kestrel.protocol.memcache cimport MemcacheParser
from kestrel.session cimport Services, Session

cdef dict COMMANDS
cdef bytes STORED
cdef bytes NOT_STORED
cdef bytes END
cdef bytes LINE_END
cdef bytes LINE_END_AND_END
cdef list _DECIMAL
cdef int DECIMALS
cdef int TURN


cdef class MemcacheHandler:
    cdef Session session
    cdef Connection connection
    cdef Services services
    cdef readonly MemcacheParser parser
    cdef long long block

    cpdef long long wants(self)
    @cython.locals(parser=MemcacheParser, connection=Connection, session=Session, ran=long)
    cpdef bint receive(self, bytes data) except -1


@cython.locals(name=bytes, word=bytes, expiry='long long', flags='unsigned int')
cpdef do_set(Session session, MemcacheParser request)

cdef class GetKey:
    cdef public bytes name
    cdef public long long timeout
    cdef public bint open
    cdef public bint close
    cdef public bint abort
    cdef public bint peek

    cpdef bint fetches(self)


@cython.locals(name=bytes, words=list, item=Item, key=GetKey)
cpdef do_get(Session session, MemcacheParser request)

@cython.locals(data=bytes, length=bytes, flags=bytes, line_end=bytes, size=Py_ssize_t)
cdef bytes _value(MemcacheParser request, bytes name, Item item, bytes tail)


@cython.locals(name=bytes, count='long long')
cdef _get_key(Session session, GetKey key)
cdef _check_fetch(Session session, bytes name, bint opening, long long count)
