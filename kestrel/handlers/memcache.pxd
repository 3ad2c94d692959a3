cimport cython

from kestrel.handlers.handler cimport Handler
from kestrel.handlers.memcache_reads cimport do_get
from kestrel.protocol.memcache cimport MemcacheParser
from kestrel.session cimport Session

cdef dict COMMANDS
cdef bytes STORED
cdef bytes NOT_STORED
cdef int TOGETHER
cdef char SLASH


cdef class MemcacheHandler(Handler):
    cdef MemcacheParser request

    cpdef run(self)


@cython.locals(name=bytes, words=list, word=bytes, data=bytes, start=Py_ssize_t, more=list, answers=list, expiry='long long', flags='unsigned int')
cpdef do_set(Session session, MemcacheParser request)
cdef bytes _replies(list answers)
