cimport cython

from kestrel.batches cimport Batches
from kestrel.connection cimport Connection
from kestrel.handlers.handler cimport Handler
from kestrel.item cimport Item as QueuedItem
from kestrel.protocol.thrift cimport Message, StructWalk, ThriftParser
from kestrel.session cimport Session

cdef object encode_binary
cdef bytes EMPTY_STRUCT
cdef bytes UPGRADE
cdef bytes LIST_HEAD

cdef int WALK
cdef int JOINED
cdef dict METHODS
cdef dict READERS


cdef class ThriftHandler(Handler):
    cdef public Batches batches
    cdef public bint upgraded
    cdef public object batch

    @cython.locals(parser=ThriftParser)
    cpdef run(self)
    @cython.locals(message=Message, walk=StructWalk, method=Method, begin=Py_ssize_t)
    cdef tuple _read(self, bytes frame)
    @cython.locals(header=StructWalk, walk=StructWalk)
    cdef Py_ssize_t _read_header(self, bytes frame) except -1
    @cython.locals(walk=StructWalk)
    cdef StructWalk _walk(self, bytes frame, Py_ssize_t begin)
    @cython.locals(pieces=list)
    cdef _call(self, Message message, Method method, dict arguments)
    cdef _put_back(self)
    @cython.locals(first=bytes, connection=Connection)
    cdef _answer(self, bytes head, int seqid, list pieces)
    cdef _refuse(self, Message message, int kind, bytes why, str encoding=*)


cdef class Method:
    cdef object function
    cdef bytes head
    cdef dict fields
    cdef dict defaults

    @cython.locals(found=dict, known=tuple)
    cdef dict arguments(self, bytes frame, dict fields)


cpdef do_put(ThriftHandler handler, dict arguments)
cpdef do_get(ThriftHandler handler, dict arguments)
@cython.locals(item=QueuedItem, begin=Py_ssize_t, number=Py_ssize_t, some=list)
cdef list _item_pieces(list items, list ids)
cpdef do_confirm(ThriftHandler handler, dict arguments)
cpdef do_abort(ThriftHandler handler, dict arguments)
@cython.locals(session=Session)
cpdef do_peek(ThriftHandler handler, dict arguments)
@cython.locals(session=Session)
cpdef do_flush_queue(ThriftHandler handler, dict arguments)
@cython.locals(session=Session)
cpdef do_flush_all_queues(ThriftHandler handler, dict arguments)
@cython.locals(session=Session)
cpdef do_delete_queue(ThriftHandler handler, dict arguments)
cpdef do_current_status(ThriftHandler handler, dict arguments)
@cython.locals(session=Session)
cpdef do_set_status(ThriftHandler handler, dict arguments)
cpdef do_get_version(ThriftHandler handler, dict arguments)
