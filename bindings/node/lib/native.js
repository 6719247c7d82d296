// Loads the native half, and makes its errors ours.
'use strict'

const path = require('node:path')
const { platform } = require('./platform.js')

const root = path.join(__dirname, '..')

/** Where the addon may be, best first. */
const places = [() => path.join(root, 'clerver.node'), () => path.join(root, 'prebuilds', platform(), 'clerver.node')]

function load() {
  const failures = []
  for (const place of places) {
    try {
      return require(place())
    } catch (error) {
      failures.push(`${place()}: ${error.message.split('\n')[0]}`)
    }
  }
  const remedy = 'run "npm rebuild clerver", which needs Rust when there is no prebuilt addon for this platform'
  throw new Error(`clerver: no addon can be loaded; ${remedy}\n  ${failures.join('\n  ')}`)
}

module.exports = load()
