// Kinds of objects: the callbacks that end them, put them aside and bring them back.
'use strict'

const native = require('./native.js')
const { ClerverError, bytes, callback, count, record, time, wrongType } = require('./errors.js')
const { payloads, nextNumber } = require('./post.js')

const NAMES = ['destroy', 'embalm', 'revive', 'discard', 'abandon', 'print']

/** Keeps a value for the native half, and answers its number. */
function keepPayload(value) {
  const number = nextNumber()
  payloads.set(number, value)
  return number
}

/** What the native half has to know of a kind. */
function wishOf(kind) {
  const given = record(kind, 'kind')
  callback(given.destroy, 'destroy')
  for (const name of NAMES) if (given[name] !== undefined) callback(given[name], name)
  if ((given.embalm === undefined) !== (given.revive === undefined)) {
    throw wrongType('kind', 'must have both embalm and revive, or neither')
  }
  return {
    keep: given.embalm === undefined ? -1 : time(given.keep, 'keep', 86_400_000),
    discard: given.discard !== undefined,
    abandon: given.abandon !== undefined,
    print: given.print !== undefined,
    level: count(given.level ?? 1, 'level', 255),
  }
}

const actions = {
  destroy: async (kind, task) => void (await kind.destroy(payloads.get(task.payload))),
  abandon: async (kind, task) => void (await kind.abandon(payloads.get(task.payload))),
  discard: async (kind, task) => void (await kind.discard(task.data)),
  embalm: async (kind, task) => ({ data: bytes(await kind.embalm(payloads.get(task.payload)), 'what embalm returned') }),
  revive: async (kind, task) => ({ payload: keepPayload(await kind.revive(task.data)) }),
  print: async (kind, task) => ({ text: String(await kind.print(payloads.get(task.payload))) }),
}

/** What runs for each callback that is due. */
function runner(node, name, kind) {
  return async (task) => {
    node._hold()
    try {
      const said = await actions[task.action](kind, task)
      native.objectDone(task.task, said?.data, said?.text, said?.payload)
    } catch (error) {
      const code = error instanceof ClerverError ? error.code : ''
      let message = 'it threw'
      try {
        message = String(error?.message ?? error)
      } catch {
        // What was thrown cannot even be shown.
      }
      native.objectFailed(task.task, code, message)
      node._tell({ type: 'callbackFailed', kind: name, action: task.action, error })
    } finally {
      node._release()
    }
  }
}

module.exports = { keepPayload, wishOf, runner }
