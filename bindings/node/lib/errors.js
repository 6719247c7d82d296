// Errors: those of Clerver, those of signals, and those of wrong arguments.
'use strict'

const native = require('./native.js')

/** What the native half puts between message and remedy. */
const SEPARATOR = '\u001f'

const table = new Map(native.codes().map((row) => [row.code, Object.freeze(row)]))

class ClerverError extends Error {
  constructor(code, message, remedy) {
    const row = table.get(code)
    if (row === undefined) throw new TypeError(`ClerverError: there is no code ${String(code)}`)
    super(String(message ?? code))
    this.code = code
    this.number = row.number
    this.class = row.class
    this.remedy = remedy ?? row.remedy
  }
}
Object.defineProperty(ClerverError.prototype, 'name', { value: 'ClerverError', writable: true, configurable: true })

class AbortError extends Error {
  constructor(reason) {
    super('The operation was aborted', { cause: reason })
    this.code = 'ABORT_ERR'
  }
}
Object.defineProperty(AbortError.prototype, 'name', { value: 'AbortError', writable: true, configurable: true })

/** The error of plain data from the native half: { code, message, remedy }. */
const errorOf = (data) => new ClerverError(data.code, data.message, data.remedy)

function translated(error) {
  if (error instanceof ClerverError || typeof error?.code !== 'string') return error
  const [message, remedy] = error.message.split(SEPARATOR)
  if (table.has(error.code) && remedy !== undefined) return new ClerverError(error.code, message, remedy)
  return wrongType('argument', error.message)
}

/** Methods of the native classes throw our errors from here on. */
function wrap(Class) {
  for (const name of Object.getOwnPropertyNames(Class.prototype)) {
    const { value } = Object.getOwnPropertyDescriptor(Class.prototype, name)
    if (name === 'constructor' || typeof value !== 'function') continue
    Object.defineProperty(Class.prototype, name, {
      configurable: true,
      value(...values) {
        try {
          return value.apply(this, values)
        } catch (error) {
          throw translated(error)
        }
      },
    })
  }
}
for (const [name, Class] of Object.entries(native)) {
  if (name.startsWith('Native') && typeof Class === 'function') wrap(Class)
}

function wrongType(name, wanted) {
  const error = new TypeError(`${name}: ${wanted}`)
  error.code = 'ERR_INVALID_ARG_TYPE'
  return error
}

function outOfRange(name, wanted) {
  const error = new RangeError(`${name}: ${wanted}`)
  error.code = 'ERR_OUT_OF_RANGE'
  return error
}

const shown = (value) => (value === null ? 'null' : Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`)

function text(value, name) {
  if (typeof value === 'string') return value
  throw wrongType(name, `must be a string, not ${shown(value)}`)
}

function callback(value, name) {
  if (typeof value === 'function') return value
  throw wrongType(name, `must be a function, not ${shown(value)}`)
}

/** An object of options, which may be left out. */
function record(value, name = 'options') {
  if (value === undefined) return {}
  if (typeof value === 'object' && value !== null) return value
  throw wrongType(name, `must be an object, not ${shown(value)}`)
}

/** Bytes as a Buffer that shares their memory; a string is UTF-8. */
function bytes(value, name = 'data') {
  if (Buffer.isBuffer(value)) return value
  if (typeof value === 'string') return Buffer.from(value)
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (value instanceof ArrayBuffer) return Buffer.from(value)
  throw wrongType(name, `must be a Buffer, typed array, DataView, ArrayBuffer or string, not ${shown(value)}`)
}

/** A whole number that is not negative. */
function count(value, name, max = Number.MAX_SAFE_INTEGER) {
  if (typeof value !== 'number') throw wrongType(name, `must be a number, not ${shown(value)}`)
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw outOfRange(name, `must be a whole number from 0 to ${max}, not ${value}`)
  }
  return value
}

/** Milliseconds, or -1 for ever. */
function time(value, name = 'timeout', otherwise = -1) {
  if (value === undefined || value === null) return otherwise
  if (typeof value !== 'number') throw wrongType(name, `must be a number of milliseconds, not ${shown(value)}`)
  if (!(value >= 0)) throw outOfRange(name, `must be 0 or more milliseconds, not ${value}`)
  return value === Infinity ? -1 : value
}

function signal(value) {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'object' && typeof value.aborted === 'boolean' && typeof value.addEventListener === 'function') {
    return value
  }
  throw wrongType('signal', `must be an AbortSignal, not ${shown(value)}`)
}

/** What every wait takes: { timeout, signal }. */
function limits(options, otherwise = -1) {
  if (options === undefined) return { timeout: otherwise, signal: undefined }
  const given = record(options)
  return { timeout: time(given.timeout, 'timeout', otherwise), signal: signal(given.signal) }
}

module.exports = {
  ClerverError, AbortError, table, errorOf, translated,
  wrongType, text, callback, record, bytes, count, time, signal, limits,
}
