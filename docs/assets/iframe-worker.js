// The search of the site runs in a worker, which browsers forbid to pages that are opened as files.
// There a hidden frame takes its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const home = new URL(url, location.href);
      const frame = document.body.appendChild(document.createElement("iframe"));
      frame.hidden = true;
      const inside = frame.contentWindow;
      // What the worker says goes to whoever made it, not to its own window.
      const listen = inside.postMessage.bind(inside);
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      const load = address => new Promise((done, fail) => {
        const script = inside.document.createElement("script");
        Object.assign(script, { src: new URL(address, home).href, onload: done, onerror: fail });
        inside.document.body.append(script);
      });
      inside.importScripts = (...addresses) =>
        addresses.reduce((before, address) => before.then(() => load(address)), Promise.resolve());
      const loaded = load(home);
      this.postMessage = data => loaded.then(() => listen(data, "*"));
      this.terminate = () => frame.remove();
    }
  };
}
