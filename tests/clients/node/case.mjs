// How the tests drive a client: `node FILE CASE '{"url": ..., "model": ..., ...}'` prints what the case returns as JSON.

export async function run(cases) {
  const [name, options] = process.argv.slice(2);
  const result = await cases[name](JSON.parse(options));
  process.stdout.write(JSON.stringify(result ?? null));
}

// What an exception is to a program that catches it: the classes it is an instance of, and its fields.
export function caught(error) {
  const classes = [];
  for (let proto = Object.getPrototypeOf(error); proto; proto = Object.getPrototypeOf(proto)) {
    classes.push(proto.constructor.name);
  }
  const fields = ["name", "status", "statusCode", "code", "param", "type", "requestID", "isRetryable", "responseBody"];
  return { classes, message: error.message, ...Object.fromEntries(fields.map((field) => [field, error[field]])) };
}

export async function exceptionOf(call) {
  try {
    await call();
  } catch (error) {
    return caught(error);
  }
  throw new Error("nothing was thrown");
}
