"""The statistics (memcache 4.6) of the model of the queues (``model``), those that a model can know."""


def model_stats(model):
    """{key: value} of those that a model can know, both str."""
    found = {key: model.numbers[key] for key in (
        'total_items', 'curr_connections', 'total_connections', 'cmd_get', 'cmd_set', 'cmd_peek', 'get_hits',
        'get_misses', 'queue_creates', 'queue_deletes', 'queue_expires')}
    found['curr_items'] = sum(len(queue.items) for queue in model.queues.values())
    found['bytes'] = sum(queue.size() for queue in model.queues.values())
    for name, queue in model.queues.items():
        if name not in model.aliases:
            prefix = 'queue_%s_' % name.decode()
            found.update({prefix + key: value for key, value in queue_stats(model, queue).items()})
    for name, (destinations, numbers) in model.aliases.items():
        prefix = 'queue_%s_' % name.decode()
        found[prefix + 'put_items'] = numbers['put_items']
        found[prefix + 'put_bytes'] = numbers['put_bytes']
        found[prefix + 'children'] = b','.join(destinations).decode()
    return {key: str(value) for key, value in found.items()}


def queue_stats(model, queue):
    found = {key: queue.numbers[key] for key in (
        'total_items', 'expired_items', 'discarded', 'transactions', 'canceled_transactions', 'total_flushes',
        'dead_letters')}
    found['items'] = len(queue.items)
    found['bytes'] = size = queue.size()
    found['age'] = model.wall - queue.taken if size and queue.taken else 0
    found['head_msec'] = model.wall - queue.items[0].added if queue.items else 0
    found['waiters'] = len(model.lines.get(queue.name, ()))
    found['open_transactions'] = len(queue.opened)
    if queue.name in model.children:
        found['children'] = b','.join(sorted(model.children[queue.name])).decode()
    return found
