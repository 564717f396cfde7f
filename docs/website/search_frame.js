// Browsers refuse workers to pages that are opened from disk. There the search runs in a hidden frame.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.inner = frame.contentWindow
      const deliver = (target, message) => {
        const data = structuredClone(message) // as a worker does: neither side sees later changes
        setTimeout(() => target.dispatchEvent(new MessageEvent("message", { data })), 0)
      }
      this.send = data => deliver(this.inner, data)
      this.inner.postMessage = data => deliver(this, data)
      this.inner.importScripts = (...urls) =>
        urls.reduce((before, next) => before.then(() => this.load(next)), Promise.resolve())
      this.load(new URL(url, document.baseURI).href).then(() => {
        this.postMessage = this.send
        this.waiting.forEach(this.send)
      })
    }
    load(src) {
      return new Promise((done, failed) => {
        const script = this.inner.document.createElement("script")
        Object.assign(script, { src, onload: done, onerror: failed })
        this.inner.document.body.append(script)
      })
    }
    postMessage(data) { this.waiting.push(data) }
    set onmessage(listener) { this.addEventListener("message", listener) }
    set onerror(listener) { this.addEventListener("error", listener) }
    terminate() { this.inner.frameElement.remove() }
  }
}
