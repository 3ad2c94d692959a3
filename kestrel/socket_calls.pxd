"""recv(2) and send(2) for compiled modules, of sockets that do not block.

What Python's sockets do around them costs more than they do themselves: arguments that are parsed, two changes of the
GIL, an answer allocated at its full size and then cut. Nothing here waits, so the GIL stays where it is.
"""

cdef extern from *:
    """
    #include <errno.h>
    #include <sys/socket.h>

    #define KESTREL_RECEIVED 65536

    static inline PyObject *kestrel_receive(int descriptor, Py_ssize_t size) {
        /* one for all: nobody else runs between recv and the copy */
        static char received[KESTREL_RECEIVED];
        PyObject *data;
        ssize_t count;
        if (size <= KESTREL_RECEIVED) {
            count = recv(descriptor, received, (size_t)size, MSG_DONTWAIT);
            return count < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyBytes_FromStringAndSize(received, count);
        }
        data = PyBytes_FromStringAndSize(NULL, size);
        if (data == NULL)
            return NULL;
        count = recv(descriptor, PyBytes_AS_STRING(data), (size_t)size, MSG_DONTWAIT);
        if (count < 0) {
            Py_DECREF(data);
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        if (count < size)
            _PyBytes_Resize(&data, count);
        return data;
    }

    static inline Py_ssize_t kestrel_send(int descriptor, PyObject *data) {
        Py_buffer view;
        ssize_t count;
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
            return -1;
        count = send(descriptor, view.buf, (size_t)view.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        PyBuffer_Release(&view);
        if (count < 0)
            PyErr_SetFromErrno(PyExc_OSError);
        return count;
    }
    """
    # The descriptor of a socket.
    int channel_of "PyObject_AsFileDescriptor" (object sock) except -1
    # At most ``size`` bytes. Raises OSError.
    bytes receive "kestrel_receive" (int descriptor, Py_ssize_t size)
    # -> how many bytes of ``data`` (bytes, memoryview) were taken. Raises OSError.
    Py_ssize_t send "kestrel_send" (int descriptor, object data) except -1
