// Handlers of calls, and what they see of a call.
'use strict'

const { ClerverError, AbortError, errorOf, bytes, wrongType } = require('./errors.js')
const { requests } = require('./post.js')

const NOTHING = Buffer.alloc(0)

class CallContext {
  #node
  #native
  #abort = new AbortController()
  #parts = []
  #isDone = false

  constructor(node, native) {
    this.#node = node
    this.#native = native
    this.id = native.id()
    this.level = native.level()
    requests.set(native.number(), this)
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
    return this.#abort.signal
  }

  /** Sends one part of the reply, once there is room. */
  async replyPart(data) {
    const part = bytes(data)
    if (this.#isDone) throw new ClerverError('STATE', 'send a part of a reply: the handler has returned')
    this.#native.part(part)
    await new Promise((resolve, reject) => this.#parts.push({ resolve, reject }))
  }

  _partIsOut(error) {
    const part = this.#parts.shift()
    if (error === null) part?.resolve()
    else part?.reject(errorOf(error))
  }

  _cancelled() {
    this.#abort.abort(new ClerverError('CANCELLED', 'the caller gave up, or its session ended'))
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
    requests.delete(this.#native.number())
    say()
    const why = new ClerverError('STATE', 'send a part of a reply: the handler has returned')
    for (const part of this.#parts.splice(0)) part.reject(why)
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
