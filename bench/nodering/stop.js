// One stop of a ring of Node processes: what the previous stop sends is piped
// through a Transform into the next. Usage:
//   node stop.js <listen port> <next port> [<warm seconds> <seconds>]
// With times it is the first stop: it sends 64 bytes off once the ring is
// closed, counts laps and prints "laps <n> seconds <s>".
'use strict'
const net = require('node:net')
const { Transform } = require('node:stream')

const [listen, next, warm, span] = process.argv.slice(2).map(Number)
const first = warm !== undefined
let laps = 0

const station = new Transform({
  transform (chunk, encoding, done) {
    laps++
    done(null, chunk)
  }
})

const linked = new Promise(resolve => {
  const dial = () => {
    const out = net.connect({ port: next, host: '127.0.0.1', noDelay: process.env.NODELAY === '1' })
    out.once('connect', () => resolve(out))
    out.once('error', () => setTimeout(dial, 20))
  }
  dial()
})

net.createServer({ noDelay: process.env.NODELAY === '1' }, async previous => {
  previous.on('error', () => process.exit(0))
  const out = await linked
  out.on('error', () => process.exit(0))
  out.on('close', () => process.exit(0))
  previous.pipe(station).pipe(out)
  if (!first) return
  out.write(Buffer.alloc(64, 'x'))
  setTimeout(() => {
    const from = laps
    const begin = process.hrtime.bigint()
    setTimeout(() => {
      const seconds = Number(process.hrtime.bigint() - begin) / 1e9
      console.log(`laps ${laps - from} seconds ${seconds.toFixed(6)}`)
      process.exit(0)
    }, span * 1000)
  }, warm * 1000)
}).listen(listen, '127.0.0.1')
