"""May this client? By the status in force, the connection limits, its client id and remote_admin."""

from kestrel.errors import AdminDisabled, Blocked, ClientIdRequired


class Access:
    """A client's; ``number`` of open connections decides about the connection limits (spec memcache 3).

    client_id  str, None if the present request came without one (spec queues 9); memcache and text know none
    """

    def __init__(self, services, number):
        self.services = services
        self.collection = services.collection
        settings = services.settings
        limit = settings.connection_limit_refuse_reads
        self.reads_refused = limit is not None and number > limit
        limit = settings.connection_limit_refuse_writes
        self.writes_refused = limit is not None and number > limit
        self.client_id = None

    def check_reads(self, name):
        """Raise Blocked if the status in force blocks reads (spec queues 11) or this client may not read."""
        if self.services.reads_blocked:
            raise self._blocked(name)
        if self.reads_refused:
            raise self._too_many(self.services.settings.connection_limit_refuse_reads)

    def check_writes(self, name):
        """The same of writes; ``name`` is None for those to all queues."""
        if self.services.writes_blocked:
            raise self._blocked(name)
        if self.writes_refused:
            raise self._too_many(self.services.settings.connection_limit_refuse_writes)

    def _blocked(self, name):
        if self.services.reads_blocked:
            if name is None:
                return Blocked(b'SERVER_ERROR server is not available')
            return Blocked(b'SERVER_ERROR queue %b is not available' % name)
        if name is None:
            return Blocked(b'SERVER_ERROR server is read-only')
        return Blocked(b'SERVER_ERROR queue %b is read-only' % name)

    def _too_many(self, limit):
        return Blocked(b'SERVER_ERROR too many connections (limit %d)' % limit)

    def check_dequeue(self, name):
        """Raise ClientIdRequired if only another client id may take from that queue (spec queues 9)."""
        collection = self.collection
        if collection.white_lists and name not in collection.aliases:
            only = collection.settings_of(name).white_list_client_id_for_dequeue
            if only is not None and only != self.client_id:
                raise ClientIdRequired(name)

    def check_enqueue(self, name):
        """Likewise for a put of that name, before any target gets it (D35); children are not asked (spec queues 7)."""
        collection = self.collection
        if collection.white_lists:
            for target, decides in collection.targets(name):
                if decides and b'+' not in target:
                    only = collection.settings_of(target).white_list_client_id_for_enqueue
                    if only is not None and only != self.client_id:
                        raise ClientIdRequired(name)

    def check_admin(self):
        """Raise AdminDisabled if clients may not administrate (D30)."""
        if not self.services.settings.remote_admin:
            raise AdminDisabled

    def check_flush(self, name):
        """Raise Refusal if this client may not flush that queue."""
        self.check_writes(name)
        if self.collection.lookup(name) is not None:
            self.check_dequeue(name)
