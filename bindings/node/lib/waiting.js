// Who waits for one thing: attempts that are repeated when the native half says that it is worth it.
//
// Invariant: something is taken only in the moment in which its promise is resolved, so a wait that is given up loses
// nothing. An attempt answers null when there is nothing yet.
'use strict'

const { ClerverError, AbortError } = require('./errors.js')

/** Longer timers are not possible, and mean for ever. */
const TIMER_MAX = 2 ** 31 - 1

class Waiting {
  #node
  #key
  #watch
  #isOrdered
  #entries = new Set()

  /**
   * @param node   what holds the process while somebody waits
   * @param key    under which the node rings; undefined for one that is rung by hand
   * @param watch  asks the native half to ring from now on, before the first wait
   * @param isOrdered  whether all wait for the same, in order
   */
  constructor(node, key, watch, isOrdered) {
    this.#node = node
    this.#key = key
    this.#watch = watch
    this.#isOrdered = isOrdered
  }

  get isIdle() {
    return this.#entries.size === 0
  }

  /** A promise for what `attempt` answers one day. */
  wait(attempt, what, given) {
    return this.#wait(attempt, what, given, this.#isOrdered)
  }

  /** The same for something that waits for nobody before it, and that nobody waits for. */
  waitBeside(attempt, what, given) {
    return this.#wait(attempt, what, given, false)
  }

  #wait(attempt, what, { timeout, signal }, isOrdered) {
    try {
      if (signal?.aborted) throw new AbortError(signal.reason)
      if (!isOrdered || this.#entries.size === 0) {
        const got = attempt()
        if (got !== null) return Promise.resolve(got)
      }
      if (timeout === 0) throw this.#over(what, timeout)
      if (this.#watch !== undefined) this.#begin(attempt)
    } catch (error) {
      return Promise.reject(error)
    }
    return new Promise((resolve, reject) => {
      const entry = { attempt, resolve, reject, what, isOrdered, timer: undefined, signal, aborted: undefined }
      if (timeout > 0 && timeout <= TIMER_MAX) {
        entry.timer = setTimeout(() => this.#fail(entry, this.#over(what, timeout)), timeout)
      }
      if (signal !== undefined) {
        entry.aborted = () => this.#fail(entry, new AbortError(signal.reason))
        signal.addEventListener('abort', entry.aborted, { once: true })
      }
      if (this.#entries.size === 0) this.#node._waits(this.#key, this)
      this.#entries.add(entry)
      this.#node._hold()
    })
  }

  #begin(attempt) {
    try {
      this.#watch()
      this.#watch = undefined
    } catch (error) {
      // It is over; the attempt knows better why.
      attempt()
      throw error
    }
  }

  #over(what, timeout) {
    return new ClerverError('TIMEOUT', `${what}: nothing came within ${timeout} ms`)
  }

  #settle(entry) {
    if (!this.#entries.delete(entry)) return false
    if (entry.timer !== undefined) clearTimeout(entry.timer)
    if (entry.aborted !== undefined) entry.signal.removeEventListener('abort', entry.aborted)
    if (this.#entries.size === 0) this.#node._waitsNoMore(this.#key, this)
    this.#node._release()
    return true
  }

  #fail(entry, error) {
    if (this.#settle(entry)) entry.reject(error)
  }

  /** It is worth another attempt. */
  ring() {
    let isHeldUp = false
    for (const entry of this.#entries) {
      if (isHeldUp && entry.isOrdered) continue
      let got
      try {
        got = entry.attempt()
      } catch (error) {
        this.#fail(entry, error)
        continue
      }
      if (got !== null) {
        if (this.#settle(entry)) entry.resolve(got)
      } else if (entry.isOrdered) {
        isHeldUp = true
      }
    }
  }

  /** Nothing will come any more: a last attempt, which mostly knows why. */
  end(why) {
    this.ring()
    for (const entry of [...this.#entries]) this.#fail(entry, why(entry.what))
  }
}

module.exports = { Waiting, TIMER_MAX }
