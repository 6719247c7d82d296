// One session of a node: all handles of it are rung together, because the native half knows one token for each.
'use strict'

const { ClerverError } = require('./errors.js')
const { Waiting } = require('./waiting.js')

const isFinal = (state) => state === 'closed' || state === 'lost'

class Hub {
  #node
  #native
  #key
  #forget
  #handles = new Set()

  constructor(node, native, forget) {
    this.#node = node
    this.#native = native
    this.#forget = forget
    this.waiting = new Waiting(node, undefined, undefined, false)
    const token = node._token()
    this.#key = token * 2
    this.isOver = false
    node._listenTo(this.#key, this)
    try {
      native.watch(token)
    } catch {
      // It is over and forgotten, and says so to whoever asks.
      this.end()
    }
  }

  /** A handle that stays until it is closed, or the session is over. */
  keep(session) {
    if (!this.isOver) this.#handles.add(session)
  }

  keeps(session) {
    return this.#handles.has(session)
  }

  letGo(session) {
    this.#handles.delete(session)
    this.waiting.ring()
  }

  first() {
    return this.#handles.values().next().value
  }

  ring() {
    this.waiting.ring()
    if (!this.isOver && isFinal(this.#native.state())) this.end()
  }

  end() {
    if (this.isOver) return
    this.isOver = true
    this.waiting.end((what) => new ClerverError('CLOSED', `${what}: the session is over`))
    this.#node._listenTo(this.#key, undefined)
    this.#handles.clear()
    this.#forget()
  }
}

module.exports = { Hub, isFinal }
