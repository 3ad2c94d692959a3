cimport cython

from kestrel.handlers.handler cimport Handler
from kestrel.item cimport Item
from kestrel.protocol.text cimport TextParser
from kestrel.session cimport Session

cdef dict COMMANDS


cdef class TextHandler(Handler):
    cdef TextParser request

    cpdef run(self)


@cython.locals(words=list, items=list, name=bytes, expiry='long long')
cpdef do_put(Session session, TextParser request)

@cython.locals(words=list, name=bytes, timeout='long long', item=Item)
cpdef do_get(Session session, TextParser request)

@cython.locals(name=bytes)
cdef bytes queue_name(list words)
cdef bytes _item(Item item)
