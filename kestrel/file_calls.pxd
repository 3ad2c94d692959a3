"""write(2) for append_file.pxd. Others have the interpreter meanwhile, as with os.write: a disk may take seconds."""

cdef extern from *:
    """
    #include <errno.h>
    #include <unistd.h>

    static inline Py_ssize_t kestrel_write(int descriptor, PyObject *data) {
        const char *bytes = PyBytes_AS_STRING(data);
        size_t size = (size_t)PyBytes_GET_SIZE(data);
        ssize_t count;
        int why;
        Py_BEGIN_ALLOW_THREADS
        do {
            count = write(descriptor, bytes, size);
        } while (count < 0 && errno == EINTR);
        why = errno;
        Py_END_ALLOW_THREADS
        if (count < 0) {
            errno = why;
            PyErr_SetFromErrno(PyExc_OSError);
        }
        return count;
    }
    """
    # -> how many bytes were written. Raises OSError.
    Py_ssize_t write "kestrel_write" (int descriptor, bytes data) except -1
