cpdef int verdict(long long items, long long size, bint behind, long long current, long long total,
                  bint barred_empty, bint barred, long long default_journal_size, long long max_journal_size,
                  long long max_memory_size)
