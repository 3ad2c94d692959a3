"""What compiled modules do with bytes on the way of a request, without slices, tuples and integers that live for a moment.

A module that cimports one of these has the same in Python under its name in ``globals()``. No argument may be None.
"""

cdef extern from *:
    """
    #include <string.h>

    static inline Py_ssize_t kestrel_find_byte(PyObject *data, int byte, Py_ssize_t start) {
        const char *bytes = PyBytes_AS_STRING(data), *found;
        Py_ssize_t size = PyBytes_GET_SIZE(data);
        found = start < size ? (const char *)memchr(bytes + start, byte, (size_t)(size - start)) : NULL;
        return found == NULL ? -1 : found - bytes;
    }

    static inline PyObject *kestrel_cut(PyObject *data, Py_ssize_t start, Py_ssize_t end) {
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start);
    }

    static inline PyObject *kestrel_words(PyObject *data, Py_ssize_t start, Py_ssize_t end) {
        const char *at = PyBytes_AS_STRING(data) + start, *stop = PyBytes_AS_STRING(data) + end, *space;
        Py_ssize_t count = 1, number;
        PyObject *words;
        while (stop > at && stop[-1] == ' ')
            stop--;
        for (space = at; space < stop; space++)
            count += *space == ' ';
        words = PyList_New(count);
        if (words == NULL)
            return NULL;
        for (number = 0; number < count; number++) {
            PyObject *word;
            for (space = at; space < stop && *space != ' '; space++)
                ;
            word = PyBytes_FromStringAndSize(at, space - at);
            if (word == NULL) {
                Py_DECREF(words);
                return NULL;
            }
            PyList_SET_ITEM(words, number, word);
            at = space + 1;
        }
        return words;
    }

    static inline long kestrel_short_number(PyObject *word) {
        const char *digit = PyBytes_AS_STRING(word);
        Py_ssize_t left = PyBytes_GET_SIZE(word);
        long value = 0;
        if (left == 0 || left > 9)
            return -1;
        for (; left > 0; left--, digit++) {
            if (*digit < '0' || *digit > '9')
                return -1;
            value = value * 10 + (*digit - '0');
        }
        return value;
    }

    static inline char *kestrel_add(char *at, PyObject *part) {
        Py_ssize_t size = PyBytes_GET_SIZE(part);
        memcpy(at, PyBytes_AS_STRING(part), (size_t)size);
        return at + size;
    }

    static inline PyObject *kestrel_join7(PyObject *a, PyObject *b, PyObject *c, PyObject *d, PyObject *e, PyObject *f,
                                          PyObject *g) {
        PyObject *whole = PyBytes_FromStringAndSize(NULL,
            PyBytes_GET_SIZE(a) + PyBytes_GET_SIZE(b) + PyBytes_GET_SIZE(c) + PyBytes_GET_SIZE(d)
            + PyBytes_GET_SIZE(e) + PyBytes_GET_SIZE(f) + PyBytes_GET_SIZE(g));
        char *at;
        if (whole == NULL)
            return NULL;
        at = PyBytes_AS_STRING(whole);
        at = kestrel_add(at, a);
        at = kestrel_add(at, b);
        at = kestrel_add(at, c);
        at = kestrel_add(at, d);
        at = kestrel_add(at, e);
        at = kestrel_add(at, f);
        kestrel_add(at, g);
        return whole;
    }

    static inline char *kestrel_little_endian(char *at, unsigned long long value, int size) {
        for (; size > 0; size--, value >>= 8)
            *at++ = (char)(value & 255);
        return at;
    }

    static inline PyObject *kestrel_xid_record(int op, int xid) {
        char record[5];
        record[0] = (char)op;
        kestrel_little_endian(record + 1, (unsigned int)xid, 4);
        return PyBytes_FromStringAndSize(record, 5);
    }

    static inline PyObject *kestrel_addx(PyObject *data, long long add_time, long long expiry) {
        Py_ssize_t size = PyBytes_GET_SIZE(data);
        PyObject *record = PyBytes_FromStringAndSize(NULL, 21 + size);
        char *at;
        if (record == NULL)
            return NULL;
        at = PyBytes_AS_STRING(record);
        *at++ = 2;
        at = kestrel_little_endian(at, (unsigned long long)size + 16, 4);
        at = kestrel_little_endian(at, (unsigned long long)add_time, 8);
        at = kestrel_little_endian(at, (unsigned long long)expiry, 8);
        kestrel_add(at, data);
        return record;
    }
    """
    # Where that byte is, from ``start`` on; -1: nowhere.
    Py_ssize_t find_byte "kestrel_find_byte" (bytes data, int byte, Py_ssize_t start)
    # data[start:end], which must lie within it.
    bytes cut "kestrel_cut" (bytes data, Py_ssize_t start, Py_ssize_t end)
    # That part of it, split at every single space, empty words at its end dropped: one word at least.
    list words_of "kestrel_words" (bytes data, Py_ssize_t start, Py_ssize_t end)
    # The value of one to nine digits, -1 if it is anything else.
    long short_number "kestrel_short_number" (bytes word)
    bytes join7 "kestrel_join7" (bytes a, bytes b, bytes c, bytes d, bytes e, bytes f, bytes g)
    # An op and its xid (spec journal 1).
    bytes pack_xid "kestrel_xid_record" (int op, int xid)
    # The ADDX record of data that is short enough for one (spec journal 1).
    bytes addx "kestrel_addx" (bytes data, long long add_time, long long expiry)
