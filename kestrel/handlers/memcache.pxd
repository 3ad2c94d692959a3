cimport cython

from kestrel.handlers.handler cimport Handler
from kestrel.protocol.memcache cimport MemcacheParser
from kestrel.session cimport Session

cdef dict COMMANDS
cdef bytes STORED
cdef bytes NOT_STORED


cdef class MemcacheHandler(Handler):
    cdef MemcacheParser request

    cpdef run(self)


@cython.locals(name=bytes, word=bytes, expiry='long long', flags='unsigned int')
cpdef do_set(Session session, MemcacheParser request)
