cimport cython

from kestrel.connection cimport Connection
from kestrel.protocol.parser cimport Parser
from kestrel.services cimport Services
from kestrel.session cimport Session

cdef long long LARGE_BLOCK
cdef int TURN


cdef class Handler:
    cdef Session session
    cdef Connection connection
    cdef Services services
    cdef readonly Parser parser
    cdef long long block
    cdef long failed

    @cython.locals(parser=Parser, connection=Connection, wanted='long long', large=bint, data=bytes)
    cpdef serve(self)
    @cython.locals(parser=Parser, connection=Connection, ran=long, pause_at=long, runs=bint)
    cpdef bint receive(self, bytes data) except -1
    cdef _note_block(self)
    cpdef run(self)
