cimport cython

from kestrel.connection cimport Connection
from kestrel.protocol.memcache cimport MemcacheParser
from kestrel.session cimport Services, Session

cdef dict COMMANDS
cdef bytes STORED
cdef bytes NOT_STORED
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
