"""The dashboard in a real browser, on real servers with no, some and 10 000 queues (D62).

Pictures of what was seen are left in build/test/pictures/<lane>/. Docs show some of them: docs/pictures.
"""

import http.client
import importlib.util
import json
import os
import time
import unittest
import urllib.parse

from functional.zookeepers import AnnouncedServer
from support.browser import ENTER, ESCAPE, TAB, Browser, needs_browser
from support.environment import CHECKOUT
from support.server import PortLease, Server

PICTURES = CHECKOUT / 'build' / 'test' / 'pictures' / os.environ.get('KESTREL_LANE', 'here')
MANY = 10000
# Of which the browser makes something, if it is let.
ODD_NAMES = (b'<img src=x onerror=alert(1)>'.replace(b' ', b'\t'), b'<script>alert(2)<script>', b'"\'&amp;', b'\x1b]0;x\x07',
             b'\xff\xfe\x85', b'caf\xc3\xa9', b'javascript:alert(3)', b'%3Cb%3E#?&=')
ODD_DATA = b'<script>alert(4)</script><img src=x onerror=alert(5)>'
# Contrast of each text with what is behind it, 4.5 to 1 where WCAG asks for that.
CONTRAST = '''
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function rgb(colour, under) {
  canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
function light(colour) {
  const [r, g, b] = colour.map(part => { part /= 255; return part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4; });
  return .2126 * r + .7152 * g + .0722 * b;
}
const poor = [];
for (const one of document.querySelectorAll("body *")) {
  const text = [...one.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
  if (!text || !one.checkVisibility({visibilityProperty: true}) || one.disabled || one.closest(".reader, .skip")) continue;
  const chain = [];
  for (let up = one; up; up = up.parentElement) chain.unshift(getComputedStyle(up).backgroundColor);
  let under = "rgb(255,255,255)";
  for (const colour of chain) under = "rgb(" + rgb(colour, under).join(",") + ")";
  const back = light(rgb(under, under)), front = light(rgb(getComputedStyle(one).color, under));
  const ratio = (Math.max(back, front) + .05) / (Math.min(back, front) + .05);
  if (ratio < 4.5) poor.push(one.tagName + " " + one.className + " " + one.textContent.slice(0, 30) + " " + ratio.toFixed(2));
}
return poor;'''
WIDER = 'return document.scrollingElement.scrollWidth - innerWidth'
REFRESHED = 'return Number(document.documentElement.dataset.refreshed || 0)'


class DashboardServer:
    """A server with an admin port."""

    def __init__(self, **config):
        self.lease = PortLease()
        admin = {'http_port': self.lease.port, **config.pop('admin', {})}
        self.server = Server({**config, 'admin': admin})
        self.page = f'http://127.0.0.1:{self.lease.port}/'

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, *error):
        self.server.__exit__(*error)
        self.lease.release()

    def get(self, target):
        """-> (headers, what is in the JSON)"""
        connection = http.client.HTTPConnection('127.0.0.1', self.lease.port, timeout=30)
        try:
            connection.request('GET', target)
            answer = connection.getresponse()
            return answer.headers, json.loads(answer.read())
        finally:
            connection.close()

    def items(self, name):
        return self.get('/api/queue?name=' + urllib.parse.quote(name.decode('latin-1')))[1]['items']

    def put(self, name, *data):
        with self.server.client() as client:
            for one in data:
                client.expect(b'set %b 0 0 %d\r\n%b\r\n' % (name, len(one), one), b'STORED\r\n')

    def delete(self, name):
        with self.server.client() as client:
            client.expect(b'delete %b\r\n' % name, b'DELETED\r\n')

    def seconds(self):
        """Processor time so far."""
        with open(f'/proc/{self.server.pid}/stat') as file:
            fields = file.read().rpartition(')')[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')


@needs_browser
class DashboardTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser())
        config = {'queues': {'work': {'max_deliveries': 1, 'dead_letter_queue': 'dead'}, 'small': {'max_items': 2}}}
        cls.kestrel = cls.enterClassContext(DashboardServer(**config))

    def setUp(self):
        self.browser.look(1280, 900)
        for name in self.names():
            self.kestrel.delete(name)
        self.browser.complaints()

    def names(self):
        found = self.kestrel.get('/api/queues?limit=100')[1]['queues']
        return [row['name'].encode('latin-1') for row in found]

    def open(self, page='', text=None):
        self.browser.open('about:blank')
        self.browser.open(self.kestrel.page + page)
        self.browser.wait(REFRESHED)
        if text is not None:
            self.browser.wait_for_text(text)

    def refresh(self):
        """Now, as a page does that comes to the front again; by itself it waits longer where the server is slow."""
        self.browser.run('document.dispatchEvent(new Event("visibilitychange"))')

    def open_queue(self, name):
        self.open('#/queue/' + urllib.parse.quote(name.decode('latin-1'), safe=''), 'Settings in force')

    def check_quiet(self):
        """No script has failed, nothing was refused by the policy, and nothing came from elsewhere."""
        self.assertEqual(self.browser.complaints(), [])
        loaded = self.browser.run('return performance.getEntriesByType("resource").map(entry => entry.name)')
        self.assertTrue(loaded)
        for url in loaded:
            self.assertTrue(url.startswith(self.kestrel.page), url)

    def picture(self, name):
        """Leave a picture, when what moves has come to rest."""
        self.browser.run('return Promise.all(document.getAnimations().map(one => one.finished.catch(() => 0)))')
        self.browser.picture(PICTURES / f'{name}.png')

    def check_looks(self, name):
        """Light, dark and on a phone: readable, nothing wider than the screen."""
        for dark in (False, True):
            self.browser.look(1280, 900, dark)
            self.picture(name + ('-dark' if dark else ''))
            self.assertEqual(self.browser.run(CONTRAST), [], (name, dark))
        self.browser.look(390, 844)
        self.picture(name + '-phone')
        self.assertLessEqual(self.browser.run(WIDER), 0, name)
        self.browser.look(1280, 900)

    def test_no_queues(self):
        for name in self.names():
            self.kestrel.delete(name)
        self.open(text='There are no queues yet')
        self.check_looks('none')
        self.check_quiet()

    def test_some_queues(self):
        self.kestrel.put(b'small', b'1', b'2')
        self.kestrel.put(b'orders+mail', b'1', b'2', b'3')
        self.kestrel.put(b'dead', b'1')
        self.kestrel.put(b'work', b'1')
        self.open(text='small')
        self.browser.click('.fold', '1\xa0child')
        self.browser.wait_for_text('orders+mail')
        # what is wrong stands at the top
        rows = self.browser.run('return [...document.querySelectorAll("tbody tr")].map(row => row.innerText.replace(/\\s+/g, " "))')
        self.assertEqual([row.split()[:2] for row in rows[:2]], [['small', 'full'], ['dead', 'dead']])
        self.assertEqual(self.browser.run('return [...document.querySelectorAll(".troubles .badge")].map(one => one.textContent)'),
                         ['full: 1\xa0queue', 'dead letters: 1\xa0queue'])
        self.check_looks('some')
        self.open_queue(b'orders+mail')
        self.check_looks('queue')
        for page, text in (('#/connections', 'in all'), ('#/server', 'Configuration')):
            self.open(page, text)
            self.check_looks(page[2:])
        self.check_quiet()

    def test_foreign_names_and_data_are_text(self):
        for name in ODD_NAMES:
            self.kestrel.put(name, ODD_DATA)
        self.kestrel.put(b'binary', b'\x00\xff\x1b[2J')
        self.open(text='binary')
        seen = self.browser.run('return [...document.querySelectorAll("tbody .name")].map(one => one.textContent)')
        self.assertEqual(sorted(seen), sorted([
            '<img\\x09src=x\\x09onerror=alert(1)>', '<script>alert(2)<script>', '"\'&amp;', '\\x1b]0;x\\x07', '\xff\xfe\\x85',
            'caf\xc3\xa9', 'javascript:alert(3)', '%3Cb%3E#?&=', 'binary']))
        self.picture('odd-names')
        for name in ODD_NAMES:
            self.open_queue(name)
            self.browser.click('#look')
            self.browser.wait_for_text(ODD_DATA.decode(), '.items')
            self.assertEqual(self.browser.run('return document.querySelectorAll("main script, main img, main iframe").length'), 0)
        self.browser.click('button', 'Delete')
        self.browser.wait_for_text('%3Cb%3E#?&=', 'dialog')
        self.browser.keys(ESCAPE)
        self.open_queue(b'binary')
        self.browser.click('#look')
        self.browser.wait_for_text('00 ff 1b 5b 32 4a', '.items')
        self.picture('peek')
        for bad in ('#/queue/%FF%', '#/nosuch', '#/queue/' + '%E2%82%AC'):
            self.open(bad)
            self.browser.wait('return /no such page|no queue of this name/.test(document.body.innerText)')
        # the console may tell of the 404 of the name that cannot be
        self.assertEqual([line for line in self.browser.complaints() if '404' not in line], [])

    def test_keyboard(self):
        self.kestrel.put(b'a', b'1')
        self.kestrel.put(b'b', b'1', b'2')
        self.open(text='Worst first')
        self.browser.keys(TAB)
        self.assertEqual(self.browser.run('return document.activeElement.textContent'), 'Skip to the content')
        focused = []
        for _ in range(30):
            self.browser.keys(TAB)
            focused.append(self.browser.run('return document.activeElement.textContent || document.activeElement.id'))
            if focused[-1] == 'Items':
                break
        self.assertEqual([one for one in focused if one in ('Queues', 'find', 'Worst first', 'Queue', 'Items')],
                         ['Queues', 'find', 'Worst first', 'Queue', 'Items'])
        self.browser.keys(ENTER)
        self.browser.wait('return document.querySelector("th[aria-sort=descending]")')
        self.browser.wait('return document.querySelector("tbody .name").textContent === "b"')
        self.browser.run('document.getElementById("find").focus()')
        self.browser.keys('a')
        self.browser.wait('return document.querySelectorAll("tbody tr").length === 1')
        self.open_queue(b'b')
        self.browser.run('[...document.querySelectorAll("button")].find(one => one.textContent.startsWith("Flush")).focus()')
        self.browser.keys(ENTER)
        self.browser.wait_for_text('2\xa0items', 'dialog')
        # the way out comes first
        self.assertEqual(self.browser.run('return document.activeElement.textContent'), 'Cancel')
        self.browser.keys(ESCAPE)
        self.browser.wait('return !document.querySelector("dialog") && document.activeElement.textContent.startsWith("Flush")')
        self.assertEqual(self.kestrel.items(b'b'), 2)
        self.browser.keys(ENTER)
        self.browser.wait('return document.querySelector("dialog")')
        self.browser.keys(TAB, ENTER)
        self.browser.wait_for_text('Flushed b: 2\xa0items.')
        self.assertEqual(self.kestrel.items(b'b'), 0)
        self.check_quiet()

    def test_reader_labels(self):
        """Whatever can be used has a name, and figures have their headings."""
        self.kestrel.put(b'a+b', b'1')
        for page in ('', '#/queue/a%2Bb', '#/connections', '#/server'):
            self.open(page)
            self.browser.command('Accessibility.enable')
            nodes = self.browser.command('Accessibility.getFullAXTree')['nodes']
            used = [node for node in nodes if not node['ignored'] and node['role']['value'] in (
                'button', 'link', 'textbox', 'searchbox', 'image', 'table', 'columnheader', 'figure', 'navigation')]
            self.assertGreater(len(used), 8)
            self.assertEqual([node['role']['value'] for node in used if not node['name']['value'].strip()], [], page)
        self.assertEqual(self.browser.run('return [document.documentElement.lang, document.querySelectorAll("h1").length]'), ['en', 1])

    def act(self, button, confirm, told, value=None):
        self.browser.click('.buttons button', button)
        self.browser.wait('return document.querySelector("dialog[open]")')
        if value is not None:
            self.browser.keys(value)
        asked = self.browser.text('dialog')
        self.browser.click('dialog button', confirm)
        self.browser.wait_for_text(told, '#alert')
        return asked

    def test_actions(self):
        self.kestrel.put(b'work', b'1', b'2')
        self.kestrel.put(b'dead', b'x', b'y', b'z')
        self.open_queue(b'work')
        asked = self.act('Move', 'Move', 'Moved work: 2\xa0items.', 'elsewhere')
        self.assertIn('2\xa0items (2\u2009B) that wait will leave it', asked)
        self.assertEqual((self.kestrel.items(b'work'), self.kestrel.items(b'elsewhere')), (0, 2))
        asked = self.act('Requeue', 'Requeue', 'Requeued dead letters of work: 3\xa0items.')
        self.assertIn('3\xa0items of dead will leave it', asked)
        self.assertEqual((self.kestrel.items(b'work'), self.kestrel.items(b'dead')), (3, 0))
        self.act('Move', 'Move', 'a queue cannot be moved into itself', 'work')
        self.act('Expire', 'Expire', 'Expired items of work: 0\xa0items.')
        asked = self.act('Delete', 'Delete', 'Deleted work: 3\xa0items.')
        self.assertIn('3\xa0items (3\u2009B), 0\xa0open reads', asked)
        self.browser.wait('return location.hash === "#/"')
        self.assertNotIn(b'work', self.names())
        self.open('#/server', 'Reload')
        self.act('Set ReadOnly', 'Set ReadOnly', 'Status readonly was asked for.')
        self.browser.wait_for_text('ReadOnly', '#state')
        self.picture('server-readonly')
        self.act('Set Up', 'Set Up', 'Status up was asked for.')
        self.act('Reload', 'Reload', 'The configuration was read again.')
        # but for the refusal above
        self.assertEqual([line for line in self.browser.complaints() if '/api/action' not in line], [])

    def test_server_sets(self):
        """Shown where a server has them; on every page, if clients may not find it."""
        self.open('#/server', 'Configuration')
        self.assertEqual(self.browser.run('return document.querySelectorAll(".sets").length'), 0)
        if importlib.util.find_spec('kazoo') is None:
            self.skipTest('no kazoo: apt install python3-kazoo, or pip install kazoo')
        nobody, lease = PortLease(), PortLease()
        for one in nobody, lease:
            self.addCleanup(one.release)
        server = AnnouncedServer(nobody, '/k', config={'admin': {'http_port': lease.port}})
        self.addCleanup(server.close)
        server.start()
        self.browser.open(f'http://127.0.0.1:{lease.port}/#/server')
        self.browser.wait_for_text(f'ZooKeeper 127.0.0.1:{nobody.port}/k: ', '.sets')
        self.browser.wait_for_text('refused', '.sets .badge.bad')
        self.browser.wait('return document.querySelector("#state.warn")')
        self.assertIn('refused', self.browser.run('return document.querySelector("#state").title'))
        self.picture('server-sets')

    def test_queues_that_go_meanwhile(self):
        self.kestrel.put(b'q', b'1')
        self.open_queue(b'q')
        self.browser.click('.buttons button', 'Flush')
        self.browser.wait_for_text('1\xa0item', 'dialog')
        self.kestrel.delete(b'q')
        self.browser.click('dialog button', 'Flush')
        self.browser.wait_for_text('q: there is no such queue', '#alert')
        self.browser.wait_for_text('There is no queue of this name (any more)')
        self.assertFalse(self.browser.run('return [...document.querySelectorAll(".buttons button")].some(one => one.checkVisibility())'))
        self.kestrel.put(b'q', b'1', b'2')
        self.refresh()
        self.browser.wait_for_text('Settings in force')
        self.open(text='1–1 of 1')
        self.kestrel.delete(b'q')
        self.refresh()
        self.browser.wait('return ![...document.querySelectorAll("tbody .name")].some(one => one.textContent === "q")')

    def test_policy(self):
        """A script in the page is not run, whoever puts it there; nor is the page shown in another one."""
        headers, _ = self.kestrel.get('/api/overview')
        self.assertEqual(headers['Content-Security-Policy'],
                         "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
        self.open()
        self.browser.run('''const script = document.createElement("script"); script.textContent = "window.ran = 1";
            document.body.append(script); const style = document.createElement("p"); document.body.append(style);
            style.setAttribute("style", "color: red"); style.setAttribute("onclick", "window.ran = 1"); style.click();''')
        self.assertIsNone(self.browser.run('return window.ran'))
        self.assertTrue(any(['Content Security Policy' in line for line in self.browser.complaints()]))
        self.browser.open(self.kestrel.page + 'graph/')
        self.browser.wait('return document.querySelector("#keys li")')
        self.assertEqual(self.browser.complaints(), [])
        self.picture('graph')


@needs_browser
class OtherServersTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser())

    def test_many_queues(self):
        """Fluid: an answer takes 100 ms of a core at most. An open page takes a hundredth of it: it asks every two seconds
        at the most, and an answer takes 20 ms; here three times as much, because the machine is busy."""
        # without files, because making so many takes longer than all the rest
        with DashboardServer(default={'keep_journal': False}) as kestrel, kestrel.server.client() as client:
            for first in range(0, MANY, 500):
                client.send(b''.join([b'set many:%05d 0 0 4\r\nabcd\r\n' % number for number in range(first, first + 500)]))
                client.expect(b'', b'STORED\r\n' * 500)
            self.browser.look(1280, 900)
            self.browser.open(kestrel.page)
            self.browser.wait_for_text('1–50 of 10,000')
            self.assertEqual(self.browser.run('return document.querySelectorAll("tbody tr").length'), 50)
            self.browser.picture(PICTURES / 'many.png')
            self.browser.run('document.querySelector(".pager button:last-child").focus()')
            self.browser.keys(ENTER)
            self.browser.wait_for_text('51–100 of 10,000')
            self.browser.run('document.getElementById("find").focus()')
            self.browser.keys('9999')
            self.browser.wait_for_text('1–1 of 1 that match')
            self.browser.open('about:blank')
            for target in ('/api/queues?fold=1', '/api/queues?sort=items&fold=1', '/api/queues?sort=name&offset=9900'):
                before = kestrel.seconds()
                for _ in range(10):
                    self.assertEqual(kestrel.get(target)[1]['total'], MANY)
                self.assertLess((kestrel.seconds() - before) / 10, 0.1, target)
            self.browser.open(kestrel.page)
            self.browser.wait_for_text('1–50 of 10,000')
            if not 4 < time.time() % 60 < 55:
                # the statistics of the minute cost more than all that is measured here
                time.sleep((64 - time.time() % 60) % 60)
            before = kestrel.seconds()
            for _ in range(10):
                seen = self.browser.run(REFRESHED)
                self.browser.run('document.dispatchEvent(new Event("visibilitychange"))')
                self.browser.wait(REFRESHED + ' > arguments[0]', seen)
            self.assertLess((kestrel.seconds() - before) / 10, 0.06)
            seen = self.browser.run(REFRESHED)
            time.sleep(1.5)
            self.assertLessEqual(self.browser.run(REFRESHED), seen + 1)

    def test_read_only_restart_and_end(self):
        with DashboardServer(admin={'read_only': True}) as kestrel:
            kestrel.put(b'q', b'1')
            self.browser.open(kestrel.page + '#/queue/q')
            self.browser.wait_for_text('The admin port is read-only')
            self.assertFalse(self.browser.run('return [...document.querySelectorAll("button")].some(one => /Flush|Delete/.test(one.textContent))'))
            kestrel.server.write_config({'admin': {'http_port': kestrel.lease.port}})
            kestrel.server.restart()
            self.browser.open('about:blank')
            self.browser.open(kestrel.page + '#/queue/q')
            self.browser.wait_for_text('Flush')
            # a page that is older than the server
            kestrel.server.restart()
            self.browser.click('.buttons button', 'Flush')
            self.browser.click('dialog button', 'Flush')
            self.browser.wait_for_text('load it again', '#alert')
            self.assertEqual(kestrel.items(b'q'), 1)
        self.browser.wait_for_text('the server does not answer', '#state')


if __name__ == '__main__':
    unittest.main()
