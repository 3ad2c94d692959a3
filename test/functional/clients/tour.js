// One tour with the client library `memcached`, its answers as one JSON object on standard output.
//
//   node tour.js PORT          everything, each step behind the one before it
//   node tour.js PORT hold     open one item of the queue `held`, say so, and wait to be killed
'use strict';

const Memcached = require('memcached');

const [port, way] = process.argv.slice(2);
const client = new Memcached(`127.0.0.1:${port}`, { poolSize: 1, retries: 0, timeout: 10000, maxValue: 16 << 20 });

function call(method, ...words) {
  return new Promise((resolve, reject) => {
    client[method](...words, (error, answer) => (error ? reject(new Error(String(error))) : resolve(answer)));
  });
}

const hex = (data) => (Buffer.isBuffer(data) ? data.toString('hex') : data === undefined ? null : `not binary: ${data}`);

async function tour() {
  const seen = {};
  const items = [Buffer.from('0d0a454e440d0a', 'hex'), Buffer.from([...Array(256).keys()]), Buffer.alloc(100000, 0xff)];

  seen.fifo = [];
  for (const item of items) await call('set', 'n', item, 0);
  for (let i = 0; i < items.length; i++) seen.fifo.push(hex(await call('get', 'n')));
  seen.put = items.map(hex);
  seen.empty = hex(await call('get', 'n'));

  await call('set', 'n', { an: 'object' }, 0);
  await call('set', 'n', 42, 0);
  seen.flags = [await call('get', 'n'), await call('get', 'n')];

  const began = Date.now();
  seen.nothing = hex(await call('get', 'n/t=300'));
  seen.waited = Date.now() - began;
  const other = new Memcached(`127.0.0.1:${port}`, { poolSize: 1 });
  setTimeout(() => other.set('n', Buffer.from('late'), 0, () => other.end()), 50);
  seen.late = hex(await call('get', 'n/t=5000'));

  await call('set', 'n', Buffer.from('one'), 0);
  await call('set', 'n', Buffer.from('two'), 0);
  seen.reliable = [hex(await call('get', 'n/open')), hex(await call('get', 'n/abort')), hex(await call('get', 'n/open')),
                   hex(await call('get', 'n/close/open')), hex(await call('get', 'n/close')), hex(await call('get', 'n'))];

  await call('set', 'm', Buffer.from('of m'), 0);
  await call('set', 'n', Buffer.from('of n'), 0);
  const multi = await call('getMulti', ['m', 'n', 'empty']);
  seen.multi = Object.fromEntries(Object.entries(multi).map(([key, data]) => [key, hex(data)]));

  seen.del = await call('del', 'm');
  seen.version = (await call('version'))[0].version;
  const stats = (await call('stats'))[0];
  seen.stats = { cmd_set: stats.cmd_set, items: stats.queue_n_items, pid: stats.pid };
  return seen;
}

async function hold() {
  return { held: await call('get', 'held/t=5000/open') };
}

(way === 'hold' ? hold() : tour()).then((seen) => {
  process.stdout.write(`${JSON.stringify(seen)}\n`, () => { if (way !== 'hold') client.end(); });
}, (error) => {
  console.error(error);
  process.exit(1);
});
