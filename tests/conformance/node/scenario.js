// SCENARIO.md in Node: grpc-js with proto-loader, which reads the .proto files.
//   node scenario.js HOST:PORT PROTO_FOLDER
'use strict';

const assert = require('node:assert/strict');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const POINTS = 'collections/points';
const [address, protos] = process.argv.slice(2);
const definition = loader.loadSync(
  ['collection', 'document', 'search'].map((name) => `vecino/v1/${name}_service.proto`)
    .concat('google/longrunning/operations.proto', 'google/rpc/status.proto', 'google/rpc/error_details.proto',
      'vecino/v1/index_operation.proto'),
  {includeDirs: [path.resolve(protos)], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true});
const {vecino, google} = grpc.loadPackageDefinition(definition);

let steps = 0;
function done(name) {
  steps += 1;
  console.log(steps, name);
}

// Unary calls as promises, by service.
function client(Service) {
  const stub = new Service(address, grpc.credentials.createInsecure());
  const unary = (name, request) => new Promise((resolve, reject) => {
    stub[name](request, {deadline: Date.now() + 60000}, (error, reply) => (error ? reject(error) : resolve(reply)));
  });
  return {stub, unary};
}

async function refused(code, promise) {
  try {
    await promise;
  } catch (error) {
    assert.equal(error.code, code, error.message);
    return error;
  }
  return assert.fail(`expected code ${code}, came OK`);
}

// What a google.protobuf.Any holds, as an object.
function unpack(any, type) {
  assert.equal(any.type_url, `type.googleapis.com/${type}`);
  return definition[type].deserialize(any.value);
}

function value(one) {
  if (typeof one === 'number') return {numberValue: one};
  return typeof one === 'boolean' ? {boolValue: one} : {stringValue: one};
}

function struct(object) {
  return {fields: Object.fromEntries(Object.entries(object).map(([key, one]) => [key, value(one)]))};
}

function plain({fields}) {
  return Object.fromEntries(Object.entries(fields).map(([key, one]) => [key, one[one.kind]]));
}

const vector = (...values) => ({values});
const ids = (hits) => hits.map((hit) => hit.document.id);

function point(i) {
  return {
    id: `p${i}`, text: `point ${i}`, vector: vector(i, 0, 1),
    metadata: struct({number: i, even: i % 2 === 0, color: ['red', 'green', 'blue'][i % 3]}),
  };
}

// Sends 1,000 documents within the window; tells how often each number was answered, and done_through.
async function ingest(stub) {
  const call = stub.IngestDocuments({deadline: Date.now() + 120000});
  call.write({start: {parent: POINTS, resume_token: 'load'}});
  const answered = new Map();
  let sent = 0;
  let doneThrough = 0;
  let window = null;
  for await (const reply of call) {
    window = reply.window || window;
    doneThrough = Math.max(doneThrough, reply.done_through);
    for (const {seq, status} of reply.results) {
      assert.equal(status ? status.code : 0, 0, `item ${seq}: ${status && status.message}`);
      answered.set(seq, (answered.get(seq) || 0) + 1);
    }
    while (sent < 1000 && sent - answered.size < window.documents) {
      sent += 1;
      call.write({document: {seq: sent, document: {id: `i${sent}`, vector: vector(-sent, 0, 1)}}});
      if (sent === 1000) {
        call.write({finish: {}});
        call.end();
      }
    }
  }
  return {answered, doneThrough};
}

async function main() {
  const collections = client(vecino.v1.CollectionService);
  const documents = client(vecino.v1.DocumentService);
  const searches = client(vecino.v1.SearchService);
  const operations = client(google.longrunning.Operations);

  const made = (await collections.unary('CreateCollection', {
    collection_id: 'points', collection: {dimension: 3, metric: 'METRIC_L2', shard_count: 2},
  })).collection;
  assert.deepEqual([made.name, made.dimension, made.index_policy.kind], [POINTS, 3, 'KIND_AUTO']);
  assert.notEqual(made.etag, '');
  done('create');

  const upserted = await documents.unary('BatchUpsertDocuments', {
    parent: POINTS, documents: Array.from({length: 100}, (_, i) => point(i)),
  });
  assert.deepEqual(upserted.results.map(({status}) => (status ? status.code : 0)), Array(100).fill(0));
  done('upsert');

  const bytes = Buffer.alloc(12);
  [100, 0, 1].forEach((one, i) => bytes.writeFloatLE(one, 4 * i));
  const token = (await documents.unary('UpdateDocument', {
    document: {...point(100), name: `${POINTS}/documents/p100`, vector: {float32_le: bytes}}, allow_missing: true,
  })).write_token;
  assert.ok(token.sequence_number > 0);
  done('upsert one');

  let got = (await documents.unary('GetDocument', {
    name: `${POINTS}/documents/p7`, read_mask: {paths: ['text', 'metadata', 'vector']},
  })).document;
  assert.equal(got.text, 'point 7');
  assert.deepEqual(plain(got.metadata), {number: 7, even: false, color: 'green'});
  assert.deepEqual(got.vector.values, [7, 0, 1]);
  assert.ok(got.create_time.seconds > 0);
  done('get');

  const found = await searches.unary('SearchDocuments', {
    parent: POINTS, vector: vector(50.2, 0, 1), top_k: 3, write_tokens: [token],
    filter: 'even = true AND color = "red"',
  });
  assert.deepEqual(ids(found.hits), ['p48', 'p54', 'p42']);
  assert.ok(Math.abs(found.hits[0].score - 4.84) < 1e-3, `score ${found.hits[0].score}`);
  assert.deepEqual([found.metric, found.higher_is_better], ['METRIC_L2', false]);
  done('search');

  const {results} = await searches.unary('BatchSearchDocuments', {
    parent: POINTS,
    requests: [[0, 2], [10.1, 2], [0, 0]].map(([x, k]) => ({vector: vector(x, 0, 1), top_k: k})),
  });
  assert.deepEqual(results.map(({status}) => (status ? status.code : 0)), [0, 0, grpc.status.INVALID_ARGUMENT]);
  assert.deepEqual(results.slice(0, 2).map(({response}) => ids(response.hits)), [['p0', 'p1'], ['p10', 'p11']]);
  done('batch search');

  let seen = [];
  let pages = 0;
  let pageToken = '';
  do {
    const page = await documents.unary('ListDocuments', {
      parent: POINTS, page_size: 40, page_token: pageToken, read_mask: {paths: ['id']},
    });
    seen.push(...page.documents.map(({id}) => id));
    pages += 1;
    pageToken = page.next_page_token;
  } while (pageToken);
  assert.deepEqual([pages, seen.length, new Set(seen).size], [3, 101, 101]);
  done('pages');

  const error = await refused(grpc.status.INVALID_ARGUMENT, documents.unary('UpdateDocument', {
    document: {name: `${POINTS}/documents/p0`, vector: vector(1, 2)},
  }));
  assert.notEqual(error.details, '');
  const status = definition['google.rpc.Status'].deserialize(error.metadata.get('grpc-status-details-bin')[0]);
  const badRequest = unpack(
    status.details.find((detail) => detail.type_url.endsWith('/google.rpc.BadRequest')), 'google.rpc.BadRequest');
  assert.equal(badRequest.field_violations[0].field, 'document.vector');
  done('error details');

  const {answered, doneThrough} = await ingest(documents.stub);
  assert.equal(answered.size, 1000);
  assert.ok([...answered.values()].every((times) => times === 1));
  assert.equal(doneThrough, 1000);
  done('ingest');

  assert.equal((await documents.unary('CountDocuments', {parent: POINTS})).count, 1101);
  assert.equal((await documents.unary('CountDocuments', {parent: POINTS, filter: 'color = "blue"'})).count, 33);
  done('count');

  seen = [];
  const stream = documents.stub.StreamDocuments(
    {parent: POINTS, read_mask: {paths: ['id']}}, {deadline: Date.now() + 60000});
  for await (const message of stream) {
    assert.ok(message.resume_token.length > 0);
    seen.push(...message.documents.map(({id}) => id));
  }
  assert.deepEqual([seen.length, new Set(seen).size], [1101, 1101]);
  done('stream');

  await collections.unary('CreateAlias', {alias_id: 'pts', alias: {target: POINTS}});
  assert.equal((await collections.unary('GetCollection', {name: 'collections/pts'})).collection.name, POINTS);
  got = (await documents.unary('GetDocument', {name: 'collections/pts/documents/p7'})).document;
  assert.equal(got.text, 'point 7');
  done('alias');

  await documents.unary('DeleteDocument', {name: `${POINTS}/documents/p7`});
  await refused(grpc.status.NOT_FOUND, documents.unary('GetDocument', {name: `${POINTS}/documents/p7`}));
  const deleted = await documents.unary('BatchDeleteDocuments', {parent: POINTS, ids: ['p8', 'p7']});
  assert.deepEqual(deleted.results.map((one) => (one.status ? one.status.code : 0)), [0, grpc.status.NOT_FOUND]);
  done('delete');

  let operation = await collections.unary('CompactIndex', {name: POINTS});
  while (!operation.done) {
    operation = await operations.unary('WaitOperation', {name: operation.name, timeout: {seconds: 20}});
  }
  assert.equal(operation.result, 'response');
  unpack(operation.response, 'vecino.v1.CompactIndexResponse');
  assert.equal(unpack(operation.metadata, 'vecino.v1.IndexOperationMetadata').collection, POINTS);
  done('operation');

  operation = await documents.unary('PurgeDocuments', {parent: POINTS, filter: 'color = "blue"'});
  assert.equal(operation.done, true);
  assert.equal(unpack(operation.response, 'vecino.v1.PurgeDocumentsResponse').purge_count, 32);
  done('purge');

  await collections.unary('DeleteAlias', {name: 'aliases/pts'});
  await collections.unary('DeleteCollection', {name: POINTS});
  await refused(grpc.status.NOT_FOUND, collections.unary('GetCollection', {name: POINTS}));
  done('clean up');
  console.log(`ok ${steps} steps`);
  process.exit(0);
}

main().catch((error) => {
  console.error(`step ${steps + 1}:`, error);
  process.exit(1);
});
