"""A real JupyterLab in a real Chromium, for tests and for looking at chapters.

``python -m tests.browser.lab chapters/03_gan_images.ipynb --output out.png`` opens the notebook in a JupyterLab of its
own (a free local port, settings in a temporary folder) and saves screenshots that cover all of it: ``out-01.png``,
``out-02.png`` ... With ``--run`` it runs every cell first, with ``--sliders`` it times every slider. The notebook's
file is not changed.
"""

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},  # it would save after 2 minutes
}

# Times from a key press to the next picture, both taken by the page itself: when the new <img> (or the new HTML of a
# picture without one) is in the page, and when it is decoded and a frame has begun that shows it.
WATCH = """handle => {
  const panel = handle.closest('.widget-vbox');
  const times = window.aigcTimes = [];
  const look = () => panel.querySelector('[role=group][aria-label]')?.outerHTML
    ?? panel.querySelector('img')?.src ?? panel.querySelector('[role=img]')?.outerHTML;
  let pressed = null, shown = look();
  window.aigcKey = () => { pressed = performance.now(); };
  handle.addEventListener('keydown', window.aigcKey, true);
  window.aigcObserver = new MutationObserver(() => {
    const image = panel.querySelector('img'), now = look();
    if (!now || now === shown) return;
    shown = now;
    if (pressed === null) return;
    const start = pressed, dom = performance.now() - start;
    pressed = null;
    const painted = () => times.push([dom, performance.now() - start]);
    (image?.decode() ?? Promise.resolve()).catch(() => null).then(() => requestAnimationFrame(painted));
  });
  window.aigcObserver.observe(panel, {subtree: true, childList: true, attributes: true, attributeFilter: ['src']});
}"""

RESET = """handle => [...handle.closest('.widget-vbox').querySelectorAll('button')]
  .find(button => button.textContent.includes('Reset'))?.click()"""


def browser_path():
    """Path of an installed Chromium or Chrome, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def missing():
    """What is missing for a browser test, in words, or an empty text."""
    if browser_path() is None:
        return "no Chromium or Chrome on this machine"
    for package in ("playwright", "jupyterlab"):
        try:
            __import__(package)
        except ImportError:
            return f"the package {package} is not installed"
    return ""


@dataclass
class Lab:
    """An open page of a running JupyterLab.

    ``outside``: addresses that the page asked for beyond this machine.   ``console``: errors of the page's scripts.
    """

    page: object
    address: str
    token: str
    outside: list = field(default_factory=list)
    console: list = field(default_factory=list)

    def open(self, path, seconds=90):
        """Open the notebook ``path`` (relative to the served folder) and wait until its kernel is there."""
        self.page.goto(f"{self.address}/doc/tree/{quote(str(path))}?token={self.token}", timeout=seconds * 1000)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=seconds * 1000)
        self.page.wait_for_function("() => window.jupyterapp !== undefined", timeout=seconds * 1000)
        self.wait_idle(seconds)

    def run_all(self, seconds=600):
        """Run every cell and wait for the last one."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
        self.page.wait_for_timeout(500)
        self.wait_idle(seconds)

    def wait_idle(self, seconds=90):
        """Wait until no cell runs and the kernel is idle."""
        self.page.wait_for_function(
            """() => {
              const panel = window.jupyterapp.shell.currentWidget;
              const kernel = panel?.sessionContext?.session?.kernel;
              const busy = [...document.querySelectorAll('.jp-InputPrompt')].some(p => p.textContent.includes('*'));
              return kernel && kernel.status === 'idle' && !busy;
            }""",
            timeout=seconds * 1000,
        )

    def dialogs(self):
        """The texts of open dialogs."""
        return self.page.locator(".jp-Dialog").all_inner_texts()

    def errors(self):
        """The texts of error outputs and of widgets that could not be shown."""
        broken = ".jp-RenderedText[data-mime-type='application/vnd.jupyter.error'], .jupyter-widgets-error-widget"
        return self.page.locator(broken).all_inner_texts()

    def pictures_without_alt(self):
        """How many pictures in outputs have no alt text."""
        silent = ("img:not([alt])", "img[alt='']", "[role=img]:not([aria-label])", "[role=img][aria-label='']")
        return self.page.locator(", ".join(f".jp-OutputArea {kind}" for kind in silent)).count()

    def sliders(self):
        """The handles of all sliders, in order."""
        return self.page.locator(".noUi-handle")

    def slider_times(self, handle, moves=30, seconds=10):
        """Move a slider ``moves`` times by key and time each step; then put its panel back as it was.

        Returns:
            list of (milliseconds until the new picture is in the page, milliseconds until it is painted).
        """
        handle.scroll_into_view_if_needed()
        handle.focus()
        self.page.keyboard.press("Home")
        self.page.wait_for_timeout(500)
        handle.evaluate(WATCH)
        try:
            for move in range(moves):
                self.page.keyboard.press(self._key(handle, move))
                wanted = f"() => window.aigcTimes.length > {move}"
                self.page.wait_for_function(wanted, timeout=seconds * 1000, polling=5)
            return [tuple(pair) for pair in self.page.evaluate("() => window.aigcTimes")]
        finally:
            stop = "h => { window.aigcObserver.disconnect(); h.removeEventListener('keydown', window.aigcKey, true); }"
            handle.evaluate(stop)
            handle.evaluate(RESET)
            self.page.wait_for_timeout(500)

    def _key(self, handle, move):
        """Upwards, and back again for a slider with fewer steps than moves."""
        low, now, high = (float(handle.get_attribute(f"aria-value{name}")) for name in ("min", "now", "max"))
        if move == 0 or now <= low:
            self._way = "ArrowRight"
        elif now >= high:
            self._way = "ArrowLeft"
        return self._way

    def screenshots(self, output):
        """Save the whole notebook as ``output`` with -01, -02 ... before its suffix; returns the paths."""
        output = Path(output)
        output.parent.mkdir(parents=True, exist_ok=True)
        area = self.page.locator(".jp-NotebookPanel-notebook").first
        scroller = "() => document.querySelector('.jp-WindowedPanel-outer') ?? document.querySelector('.jp-Notebook')"
        total, view = self.page.evaluate(
            f"() => {{ const s = ({scroller})(); return [s.scrollHeight, s.clientHeight]; }}"
        )
        paths, top = [], 0
        while True:
            self.page.evaluate(f"() => {{ ({scroller})().scrollTop = {top}; }}")
            self.page.wait_for_timeout(250)
            paths.append(output.with_name(f"{output.stem}-{len(paths) + 1:02d}{output.suffix or '.png'}"))
            area.screenshot(path=paths[-1])
            if top + view >= total:
                return paths
            top += view - 40


@contextlib.contextmanager
def served(folder, width=1280, height=1400, environment=None):
    """Start JupyterLab on ``folder`` and a browser beside it; yields a ``Lab``, and ends both."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aigc-lab-", ignore_cleanup_errors=True)))
        address, token = stack.enter_context(_server(Path(folder), home, environment or {}))
        yield stack.enter_context(_browser(address, token, width, height))


@contextlib.contextmanager
def _server(folder, home, environment):
    """A JupyterLab on a free port with settings and run files under ``home``; yields (address, token)."""
    port, token = _free_port(), secrets.token_hex(16)
    for name, content in SETTINGS.items():
        path = home / "settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    places = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}"]
    command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True"]
    surroundings = os.environ | {name: str(path) for name, path in places.items()} | environment
    with open(home / "server.log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=surroundings, stdout=log, stderr=log, start_new_session=os.name != "nt")
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for_server(process, f"{address}/api?token={token}", log)
            yield address, token
        finally:
            _end(process)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for_server(process, address, log, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    log.seek(0)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read()[-3000:]}")


def _end(process):
    """End the server and its kernels."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        if os.name != "nt":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


@contextlib.contextmanager
def _browser(address, token, width, height):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path(), args=list(QUIET))
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            lab = Lab(page, address, token)
            own = urlsplit(address).netloc
            page.on("request", lambda request: _note_outside(request.url, own, lab.outside))
            page.on("pageerror", lambda error: lab.console.append(str(error)))
            yield lab
        finally:
            browser.close()


def _note_outside(url, own, outside):
    parts = urlsplit(url)
    if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != own:
        outside.append(url)


def summary(times):
    """Median, 90th percentile and maximum of ``slider_times`` in words."""
    dom, paint = ([pair[i] for pair in times] for i in (0, 1))
    ninth = sorted(dom)[int(0.9 * (len(dom) - 1))]
    return (
        f"{len(times)} moves: median {statistics.median(dom):.0f} ms from key press to new picture in the page "
        f"(90th percentile {ninth:.0f}, maximum {max(dom):.0f}), painted after {statistics.median(paint):.0f} ms"
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Open a notebook in a real JupyterLab and take screenshots of all of it."
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--output", type=Path, default=Path("notebook.png"))
    parser.add_argument("--run", action="store_true", help="run all cells first")
    parser.add_argument("--sliders", action="store_true", help="time every slider (needs --run)")
    parser.add_argument("--seconds", type=float, default=600, help="longest time for the run")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1400)
    chosen = parser.parse_args(arguments)
    if reason := missing():
        sys.exit(f"Cannot open a browser: {reason}.")
    notebook = chosen.notebook.resolve()
    root = ROOT if notebook.is_relative_to(ROOT) else notebook.parent
    with served(root, chosen.width, chosen.height) as lab:
        lab.open(notebook.relative_to(root).as_posix())
        if chosen.run:
            lab.run_all(chosen.seconds)
        for path in lab.screenshots(chosen.output):
            print(path)
        if chosen.sliders:
            for number in range(lab.sliders().count()):
                print(f"slider {number}: {summary(lab.slider_times(lab.sliders().nth(number)))}")
        print(f"pictures without alt text: {lab.pictures_without_alt()}; errors: {lab.errors() or 'none'}")
        print(f"dialogs: {lab.dialogs() or 'none'}; outside requests: {lab.outside or 'none'}")


if __name__ == "__main__":
    main()
