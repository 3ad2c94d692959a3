"""A headless Chromium, driven through chromedriver by the few commands of WebDriver that the tests need.

Plain HTTP with JSON (https://www.w3.org/TR/webdriver2/): the library for it would bring a dozen others.
"""

import base64
import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'
START_SECONDS = 30
WAIT_SECONDS = 10
# As WebDriver names them.
TAB, ENTER, ESCAPE = '\ue004', '\ue007', '\ue00c'
ARGUMENTS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars',
             '--force-device-scale-factor=1', '--lang=en', '--disable-background-networking', '--no-first-run']


def needs_browser(test):
    missing = [name for name in ('chromium', 'chromedriver') if not shutil.which(name)]
    return unittest.skipIf(missing, f'no {" and ".join(missing)}: apt install chromium chromium-driver')(test)


class Browser:
    """One browser with one page. ``with Browser() as browser``: it is gone at the end."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix='kestrel-browser-')
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            self._port = probe.getsockname()[1]
        self._driver = subprocess.Popen(['chromedriver', f'--port={self._port}'], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._session = None

    def __enter__(self):
        try:
            self._wait_for_driver()
            options = {'args': [*ARGUMENTS, f'--user-data-dir={self._folder.name}/profile'],
                       'binary': shutil.which('chromium')}
            made = self._send('POST', '/session', {'capabilities': {'alwaysMatch': {
                'goog:chromeOptions': options, 'goog:loggingPrefs': {'browser': 'ALL'}}}})
            self._session = f'/session/{made["sessionId"]}'
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self._session is not None:
            with contextlib.suppress(OSError, AssertionError):
                self._send('DELETE', self._session)
        self._driver.terminate()
        self._driver.wait(START_SECONDS)
        self._folder.cleanup()

    def _wait_for_driver(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._send('GET', '/status')
                return
            except OSError:
                if time.monotonic() > deadline or self._driver.poll() is not None:
                    raise AssertionError('chromedriver does not answer') from None
                time.sleep(0.05)

    def _send(self, method, path, body=None):
        connection = http.client.HTTPConnection('127.0.0.1', self._port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            value = json.loads(answer.read())['value']
        finally:
            connection.close()
        if answer.status != 200:
            raise AssertionError(f'{value["error"]}: {value["message"].splitlines()[0]}')
        return value

    def _do(self, path, **body):
        return self._send('POST', self._session + path, body)

    def open(self, url):
        self._do('/url', url=url)

    def run(self, script, *arguments):
        """-> what the body of a function in JavaScript returns."""
        return self._do('/execute/sync', script=script, args=list(arguments))

    def text(self, selector='body'):
        """The text of the first element, as it is seen."""
        return self.run('const found = document.querySelector(arguments[0]); return found && found.innerText', selector)

    def wait(self, script, *arguments):
        """Until the body of a function returns something true. -> it"""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            found = self.run(script, *arguments)
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f'not within {WAIT_SECONDS} s: {script} {arguments}\n{self.text()}')
            time.sleep(0.03)

    def wait_for_text(self, text, selector='body'):
        self.wait('const found = document.querySelector(arguments[0]); return found && found.innerText.includes(arguments[1])',
                  selector, text)

    def click(self, selector, text=''):
        """The first visible element that fits and contains that text, as a mouse does: AssertionError if something is before it."""
        while True:
            found = self.wait('return [...document.querySelectorAll(arguments[0])].find(one => one.checkVisibility()'
                              ' && one.textContent.includes(arguments[1]))', selector, text)
            try:
                self._do(f'/element/{found[ELEMENT]}/click')
                return
            except AssertionError as error:
                # the page has made it anew just now
                if not str(error).startswith('stale element'):
                    raise

    def keys(self, *keys):
        """Press and release each, wherever the focus is."""
        actions = [{'type': kind, 'value': key} for key in ''.join(keys) for kind in ('keyDown', 'keyUp')]
        self._do('/actions', actions=[{'type': 'key', 'id': 'keyboard', 'actions': actions}])

    def command(self, name, **parameters):
        """One of the DevTools protocol."""
        return self._do('/goog/cdp/execute', cmd=name, params=parameters)

    def look(self, width, height, dark=False):
        """Be a screen of that size."""
        self.command('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.command('Emulation.setEmulatedMedia', features=[
            {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])

    def picture(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._send('GET', self._session + '/screenshot')))

    def complaints(self):
        """What the console has shown since the last call: errors of scripts, refused loads. -> list of str"""
        return [entry['message'] for entry in self._do('/se/log', type='browser')
                if entry['level'] == 'SEVERE']
