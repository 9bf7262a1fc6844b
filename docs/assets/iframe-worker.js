/* Browsers start no worker from a file. Where the pages are read without a server, this
   stands in for the search's worker: its script runs in a frame of the same page. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      const begin = () => {
        document.body.appendChild(frame);
        const inside = frame.contentWindow;
        // What a worker says to its maker.
        inside.postMessage = (data) => {
          const event = new MessageEvent("message", { data });
          this.dispatchEvent(event);
          if (this.onmessage) this.onmessage(event);
        };
        // What its maker says to it; before the script has run, it waits.
        const waiting = this.waiting;
        const script = inside.document.createElement("script");
        script.src = url;
        script.onload = () => {
          this.postMessage = (data) =>
            inside.dispatchEvent(new inside.MessageEvent("message", { data }));
          waiting.forEach((data) => this.postMessage(data));
        };
        inside.document.body.appendChild(script);
      };
      this.waiting = [];
      if (document.body) begin();
      else addEventListener("DOMContentLoaded", begin);
    }
    postMessage(data) {
      this.waiting.push(data);
    }
    terminate() {}
  };
}
