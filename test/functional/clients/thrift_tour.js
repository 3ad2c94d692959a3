// A tour of the thrift port with two connections; what was seen goes to standard output as JSON.
'use strict';

const thrift = require('thrift');
const [port, queue, generated] = process.argv.slice(2);
const Kestrel = require(generated + '/Kestrel');

function connect() {
  const connection = thrift.createConnection('127.0.0.1', Number(port),
    { transport: thrift.TFramedTransport, protocol: thrift.TBinaryProtocol });
  connection.on('error', (error) => { console.error(error); process.exit(1); });
  return [thrift.createClient(Kestrel, connection), connection];
}

const number = (value) => Number(value.valueOf());

async function tour() {
  const [a, first] = connect();
  const [b, second] = connect();
  const seen = {};
  seen.put = await a.put(queue, [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')], 0);
  let items = await a.get(queue, 2, 0, 60000);
  seen.got = items.map((item) => item.data.toString());
  const info = await b.peek(queue);
  seen.peek = [info.head_item.toString(), number(info.items), number(info.bytes), info.open_transactions];
  seen.confirm = await b.confirm(queue, [items[0].id]);
  seen.abort = await b.abort(queue, [items[0].id, items[1].id]);
  items = await b.get(queue, 10, 100, 0);
  seen.rest = items.map((item) => [item.data.toString(), number(item.id)]);
  seen.status = await a.current_status();
  seen.version = await a.get_version();
  try {
    await a.put('a.b', [Buffer.from('x')], 0);
  } catch (error) {
    seen.refused = [error.type, error.message];
  }
  await a.delete_queue(queue);
  console.log(JSON.stringify(seen));
  first.end();
  second.end();
}

tour().catch((error) => { console.error(error); process.exit(1); });
