// Mail from the threads of the native half, and operations that only have a blocking form.
'use strict'

const native = require('./native.js')
const { AbortError, errorOf } = require('./errors.js')

/** Payloads of objects by number: in the native half an object is its payload's number. */
const payloads = new Map()
/** Numbers to the functions that they mean. */
const services = new Map()
const kinds = new Map()
const logs = new Map()

const tickets = new Map()
const visits = new Map()
let last = 0

const nextNumber = () => ++last

function called(service, request) {
  const run = services.get(service)
  if (run === undefined) request.fail('NOT_RUN', 'the service was taken back')
  else run(request)
}

// The numbers stand in post.rs.
const readers = [
  (ticket, [value, error]) => tickets.get(ticket)?.(value, error),
  called,
  (kind, task) => kinds.get(kind)?.(task),
  (log, [level, line]) => logs.get(log)?.(level, line),
  (payload) => payloads.delete(payload),
  (ticket, payload) => visits.get(ticket)?.(payload),
]

const post = new native.Post((about, number, value) => readers[about](number, value))

/**
 * Starts an operation by `start(post, ticket)`; a promise for its answer. Given up by its signal it goes on without us,
 * and `discard` gets what it answers.
 */
function operate(node, start, { signal, discard, visit } = {}) {
  if (signal?.aborted) return Promise.reject(new AbortError(signal.reason))
  return new Promise((resolve, reject) => {
    const ticket = nextNumber()
    const holder = node ?? { _hold: () => post.hold(), _release: () => post.release() }
    let isHeld = true
    const release = () => {
      if (isHeld) holder._release()
      isHeld = false
      signal?.removeEventListener('abort', aborted)
    }
    const aborted = () => {
      release()
      tickets.set(ticket, (value, error) => {
        tickets.delete(ticket)
        if (error === undefined) discard?.(value)
      })
      reject(new AbortError(signal.reason))
    }
    tickets.set(ticket, (value, error) => {
      tickets.delete(ticket)
      visits.delete(ticket)
      release()
      if (error === undefined) resolve(value)
      else reject(errorOf(error))
    })
    if (visit !== undefined) visits.set(ticket, visit)
    holder._hold()
    signal?.addEventListener('abort', aborted, { once: true })
    try {
      start(post, ticket)
    } catch (error) {
      tickets.delete(ticket)
      visits.delete(ticket)
      release()
      reject(error)
    }
  })
}

module.exports = { post, operate, nextNumber, payloads, services, kinds, logs }
