cimport cython

from kestrel.connection cimport Connection
from kestrel.protocol.parser cimport Parser
from kestrel.services cimport Services
from kestrel.session cimport Session

cdef int TURN


cdef class Handler:
    cdef Session session
    cdef Connection connection
    cdef Services services
    cdef readonly Parser parser
    cdef long long block
    cdef long failed

    cpdef long long wants(self)
    @cython.locals(parser=Parser, connection=Connection, ran=long)
    cpdef bint receive(self, bytes data) except -1
    cdef _note_block(self)
    cpdef run(self)
