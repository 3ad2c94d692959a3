"""The counters of a histogram as C has them, for stats.pxd: a list costs an object and its change for each value."""

cdef extern from *:
    """
    #include <string.h>

    static inline long long *kestrel_more_cells(long long *cells, Py_ssize_t have, Py_ssize_t wanted) {
        long long *more = (long long *)PyMem_Realloc(cells, (size_t)wanted * sizeof(long long));
        if (more == NULL)
            PyErr_NoMemory();
        else
            memset(more + have, 0, (size_t)(wanted - have) * sizeof(long long));
        return more;
    }

    static inline long long *kestrel_cells_of(PyObject *numbers) {
        Py_ssize_t count = PyList_GET_SIZE(numbers), at;
        long long *cells = (long long *)PyMem_Malloc((size_t)count * sizeof(long long));
        if (cells == NULL)
            PyErr_NoMemory();
        for (at = 0; cells != NULL && at < count; at++) {
            cells[at] = PyLong_AsLongLong(PyList_GET_ITEM(numbers, at));
            if (cells[at] == -1 && PyErr_Occurred() != NULL) {
                PyMem_Free(cells);
                cells = NULL;
            }
        }
        return cells;
    }
    """
    long long *no_cells "NULL"
    # ``have`` cells and, behind them, new ones of 0: ``wanted`` in all. Raises MemoryError.
    long long *more_cells "kestrel_more_cells" (long long *cells, Py_ssize_t have, Py_ssize_t wanted) except NULL
    # The numbers of a list, for good. Raises MemoryError, OverflowError, TypeError.
    long long *cells_of "kestrel_cells_of" (list numbers) except NULL
    void free_cells "PyMem_Free" (long long *cells)
