cimport cython

from kestrel.item cimport Item
from kestrel.read_ids cimport Batch, ReadIds, SharedReads
from kestrel.services cimport Services
from kestrel.session cimport Session

cdef int TURN
cdef int ITEM_HEAD


cdef class Batches:
    cdef Session session
    cdef ReadIds ids
    cdef SharedReads reads

    @cython.locals(session=Session, services=Services, item=Item, deadline=double, left=double, room='long long')
    cdef _collect(self, bytes name, long long most, long long timeout, bint opening, list items)
