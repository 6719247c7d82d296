'use strict'

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { directory } = require('./help.js')

/** A line that a program says, once it is there. */
async function line(program, wanted) {
  for (;;) {
    const found = program.said.find((one) => wanted.test(one))
    if (found !== undefined) return found
    const [event] = await Promise.race([once(program.stdout, 'data').then(() => ['data']), once(program, 'close')])
    if (event !== 'data' && !program.said.some((one) => wanted.test(one))) {
      throw new Error(`it ended: ${program.said.join('\n')}`)
    }
  }
}

test('the chat: two guests, one of whom is killed', async () => {
  const place = directory()
  fs.mkdirSync(path.join(place, 'node_modules'))
  fs.symlinkSync(path.join(__dirname, '..'), path.join(place, 'node_modules', 'clerver'))
  fs.copyFileSync(path.join(__dirname, '../../../examples/node/chat.mjs'), path.join(place, 'chat.mjs'))
  const start = (...words) => {
    const env = { ...process.env, CLERVER_HOME: place, CLERVER_TTL_MS: '1000', CLERVER_BEAT_MS: '100' }
    const program = spawn(process.execPath, ['chat.mjs', ...words], { cwd: place, env, stdio: ['pipe', 'pipe', 'inherit'] })
    program.said = []
    program.stdout.setEncoding('utf8')
    program.stdout.on('data', (data) => program.said.push(...data.split('\n').filter(Boolean)))
    return program
  }
  const server = start('serve', '127.0.0.1:0')
  try {
    const address = (await line(server, /^serving at /)).slice('serving at '.length)
    const ada = start(address, 'Ada')
    await line(ada, /^Ada is here$/)
    const bob = start(address, 'Bob')
    await line(ada, /^Bob is here$/)
    bob.stdin.write('hello\n')
    await line(ada, /^Bob: hello$/)
    bob.kill('SIGKILL')
    await line(ada, /^Bob is gone$/)
    ada.stdin.end('bye\n')
    assert.deepEqual(await once(ada, 'close'), [0, null])
    await line(server, /^Ada is gone$/)
  } finally {
    server.kill('SIGKILL')
  }
})
