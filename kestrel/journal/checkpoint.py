"""What a packed file must hold (D40, spec journal 8 and 10)."""


class Checkpoint:
    """What has happened to the items of a queue since one of its files was rotated.

    S being the items that waited at that moment, in order: the first ``taken`` of them have left the queue at least
    once. Those of them that are not gone for good, but open or put back, are kept with their place in S. Items that
    were put back stand at the head, ``returned`` of them, before all of S that was never taken.

    file    AppendFile, the one that was rotated
    opened  [(xid, Item)], the open reads of that moment, the highest xid first
    """

    def __init__(self, file, opened):
        self.file = file
        self.opened = opened
        self.taken = 0
        self.returned = 0
        self._alive = {}        # id of an Item -> (its place in S, the Item as it was in S, the Item)

    def take(self, item, opening):
        """The head has left: for good, or ``opening`` as an open read."""
        if self.returned:
            self.returned -= 1
            if not opening:
                self._alive.pop(id(item), None)
            return
        if opening:
            self._alive[id(item)] = self.taken, item, item
        self.taken += 1

    def put_back(self, item, again):
        """An open read went back to the head, as the Item ``again``, which counts that. The packed file holds it without:
        the UNREMOVE is in another one."""
        self.returned += 1
        entry = self._alive.pop(id(item), None)
        if entry is not None:
            self._alive[id(again)] = entry[0], entry[1], again

    def confirm(self, item):
        """An open read is gone for good."""
        self._alive.pop(id(item), None)

    def content(self, items):
        """-> (open reads, how many of S were taken, {place: Item} of those not gone, [the rest of S]): what the packed
        file holds, in this order. ``items``: the deque of those in memory, which are exactly those of S that wait,
        behind those put back."""
        waiting = list(items)
        del waiting[:self.returned]
        return self.opened, self.taken, {place: item for place, item, _ in self._alive.values()}, waiting
