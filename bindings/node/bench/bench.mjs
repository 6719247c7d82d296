// 64 B calls and a stream of 64 KiB messages from Node, beside the same from C, against the same server in C.
//
//     node bench/bench.mjs BENCH [ROUNDS]
//
// BENCH is the program of tests/bench/c (`make bench` leaves it in the target directory, or compile it yourself as its
// first lines say). Each round is 1 s of each, in turns; what is printed is the median of the rounds' ratios.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Node } from '../lib/index.mjs'

const [bench, rounds = '7'] = process.argv.slice(2)
const TIME = 1000
const home = mkdtempSync(join(tmpdir(), 'clerver-bench-'))
process.on('exit', () => rmSync(home, { recursive: true, force: true }))

/** A program of the bench: it is asked by lines. */
function start(...words) {
  const child = spawn(bench, words, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, CLERVER_HOME: home } })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async () => (await lines.next()).value
  return { child, next, ask: (line) => (child.stdin.write(`${line}\n`), next()) }
}

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]

async function callsOf(session) {
  const request = Buffer.alloc(64)
  const times = []
  const until = performance.now() + TIME
  for (let begin = performance.now(); begin < until; ) {
    await session.call('worker', request)
    const end = performance.now()
    times.push(end - begin)
    begin = end
  }
  return median(times) * 1000
}

async function streamOf(session) {
  const message = Buffer.alloc(65536)
  const channel = await session.open('large')
  const begin = performance.now()
  let sent = 0
  while (performance.now() < begin + TIME) {
    for (let turn = 0; turn < 16; turn++, sent++) await channel.send(message)
  }
  channel.end()
  const counted = (await channel.receive()).readBigUInt64LE()
  if (Number(counted) !== sent) throw new Error('messages are missing')
  const rate = (sent * 1000) / (performance.now() - begin)
  channel.close()
  return rate
}

const server = start('session-serve', '-1', '127.0.0.1:0')
const address = (await server.next()).split(' ')[1]
const client = start('session-client', '-1', address)
await client.next()
const node = await Node.open({ home })
const session = await node.connect(address)
const ratios = { call: [], stream: [] }
for (let round = 0; round <= Number(rounds); round++) {
  const [c, ours] = [await client.ask(`call worker ${TIME}`), await callsOf(session)]
  const [streamC, streamOurs] = [await client.ask(`stream ${TIME} 65536`), await streamOf(session)]
  console.log(`C: ${c} | ${streamC}    Node: ${ours.toFixed(1)} us | ${streamOurs.toFixed(0)}/s`)
  const number = (text, at) => Number(text.split(/\s+/).filter((word) => /^[\d.]+$/.test(word))[at])
  if (round === 0) continue
  // Nanoseconds; messages and nanoseconds.
  ratios.call.push(ours / (number(c, 0) / 1000))
  ratios.stream.push(streamOurs / ((number(streamC, 0) * 1e9) / number(streamC, 1)))
}
console.log(`call: ${median(ratios.call).toFixed(2)} times the time of C; stream: ${median(ratios.stream).toFixed(2)} of C's rate`)
await session.close()
await node.close()
for (const { child } of [client, server]) {
  child.stdin.end()
  await Promise.race([once(child, 'exit'), new Promise((resolve) => setTimeout(resolve, 3000).unref())])
}
