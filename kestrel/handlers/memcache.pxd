cimport cython

from kestrel.connection cimport Connection
from kestrel.item cimport Item
from kestrel.protocol.memcache cimport MemcacheParser
from kestrel.session cimport Services, Session

cdef dict COMMANDS
cdef bytes STORED
cdef bytes NOT_STORED
cdef bytes END


cdef class MemcacheHandler:
    cdef Session session
    cdef Connection connection
    cdef Services services
    cdef readonly MemcacheParser parser

    cpdef long long wants(self)
    @cython.locals(parser=MemcacheParser, connection=Connection, session=Session)
    cpdef bint receive(self, bytes data) except -1


@cython.locals(name=bytes, word=bytes, expiry='long long', flags='unsigned int')
cpdef do_set(Session session, MemcacheParser request)

@cython.locals(name=bytes, words=list, item=Item)
cpdef do_get(Session session, MemcacheParser request)

@cython.locals(data=bytes)
cdef bytes _value(MemcacheParser request, bytes name, Item item)
