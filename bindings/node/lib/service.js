// Handlers of calls, and what they see of a call.
'use strict'

const { ClerverError, bytes } = require('./errors.js')
const { Waiting } = require('./waiting.js')

const NOTHING = Buffer.alloc(0)
const FOREVER = { timeout: -1, signal: undefined }

/** Calls that are not answered: the collector must not take a handler that waits for a promise which nobody else knows. */
const running = new Set()

class CallContext {
  #node
  #native
  /** Made when somebody asks for its signal. */
  #abort
  /** Who waits for room for a part; made with the first part. */
  #parts
  /** Under which the node rings when the caller gave up; undefined while nobody wants to know. */
  #key
  #isDone = false

  constructor(node, native) {
    this.#node = node
    this.#native = native
    this.id = native.id()
    this.level = native.level()
    running.add(this)
  }

  get session() {
    return this.#node._sessionOf(this.#native.session())
  }

  get remaining() {
    return this.#native.remaining() ?? Infinity
  }

  get isCancelled() {
    return this.#native.isCancelled()
  }

  get signal() {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      try {
        // Rings at once, so who asks now hears the event of a call that is cancelled already.
        this.#watch()
      } catch {
        // The session is over and forgotten.
        setImmediate(() => this.#look())
      }
    }
    return this.#abort.signal
  }

  #watch() {
    if (this.#key !== undefined || this.#isDone) return
    const token = this.#node._token()
    this.#native.watch(token)
    this.#key = token * 2
    this.#node._listenTo(this.#key, { ring: () => this.#look() })
    this.#node._listenTo(this.#key + 1, { ring: () => this.#parts?.ring() })
  }

  #look() {
    if (!this.isCancelled) return
    this.#parts?.ring()
    this.#abort?.abort(new ClerverError('CANCELLED', 'the caller gave up, or its session ended'))
  }

  /** Sends one part of the reply, once there is room. */
  async replyPart(data) {
    const part = bytes(data)
    const what = 'send a part of a reply'
    const attempt = () => {
      if (this.#isDone) throw new ClerverError('STATE', `${what}: the handler has returned`)
      return this.#native.part(part) || null
    }
    this.#parts ??= new Waiting(this.#node, undefined, () => this.#watch(), true)
    await this.#parts.wait(attempt, what, FOREVER)
  }

  /** Answers with what the handler returned: data, nothing, or an iterable of parts. */
  async _answer(result) {
    if (result !== null && typeof result === 'object' && typeof result[Symbol.asyncIterator] === 'function') {
      for await (const part of result) await this.replyPart(part)
      return this.#end(() => this.#native.done(NOTHING))
    }
    const data = result === undefined || result === null ? NOTHING : bytes(result, 'what the handler returned')
    this.#end(() => this.#native.done(data))
  }

  _fail(error) {
    const code = error instanceof ClerverError || typeof error?.code === 'string' ? String(error.code) : ''
    let message = 'the handler failed'
    try {
      message = String(error?.message ?? error)
    } catch {
      // What was thrown cannot even be shown.
    }
    this.#end(() => this.#native.fail(code, message))
  }

  #end(say) {
    this.#isDone = true
    running.delete(this)
    say()
    if (this.#key !== undefined) {
      this.#node._listenTo(this.#key, undefined)
      this.#node._listenTo(this.#key + 1, undefined)
    }
    this.#parts?.ring()
    this.#node._drainMoved()
  }
}

/** What runs for each request of a service. */
function runner(node, handler) {
  return async (request) => {
    const context = new CallContext(node, request)
    node._hold()
    try {
      await context._answer(await handler(request.data(), context))
    } catch (error) {
      context._fail(error)
    } finally {
      node._release()
    }
  }
}

module.exports = { CallContext, runner }
