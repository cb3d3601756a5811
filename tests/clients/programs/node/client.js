// kafkajs in the roles of tests/clients/test_matrix.py: `produce|consume BOOTSTRAP TOPIC CODEC|GROUP COUNT`.
const crypto = require('crypto');
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs');
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy');

const [role, bootstrap, topic, extra, countText] = process.argv.slice(2);
const count = Number(countText);
const kafka = new Kafka({ clientId: 'odradek-test', brokers: [bootstrap], logLevel: logLevel.ERROR });
const valueOf = (i) => `${i}-` + 'abcdefghij'.repeat(i % 40);

async function produce() {
  const types = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy };
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  for (let i = 0; i < count; i += 500) {
    const messages = [];
    for (let k = i; k < Math.min(count, i + 500); k++) messages.push({ key: String(k), value: valueOf(k) });
    await producer.send({ topic, messages, compression: types[extra], acks: -1 });
  }
  await producer.disconnect();
}

async function consume() {
  const consumer = kafka.consumer({ groupId: extra, minBytes: 1, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const pairs = [];
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, (event) => reject(event.payload.error));
    consumer.run({
      eachMessage: async ({ message }) => {
        pairs.push([message.key.toString(), message.value]);
        if (pairs.length === count) resolve();
      },
    }).catch(reject);
  });
  await consumer.disconnect();
  pairs.sort((a, b) => Number(a[0]) - Number(b[0]));
  const sha = crypto.createHash('sha256');
  for (const [key, value] of pairs) sha.update(key + '\t').update(value).update('\n');
  console.log(pairs.length, sha.digest('hex'));
}

(role === 'produce' ? produce() : consume()).then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
