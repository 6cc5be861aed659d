// What the console may call, from the types that are generated from the OpenAPI document (openapi.d.ts).

import type { components, paths } from "./openapi.js";

export type Schemas = components["schemas"];
export type Problem = Schemas["Problem"];
export type Line = Schemas["BillingLine"];

type Method = "get" | "put" | "post" | "patch" | "delete";

/** The paths that have a method. */
type With<M extends Method> = {
  [P in keyof paths]: paths[P][M] extends { responses: unknown } ? P : never;
}[keyof paths];

type Operation<P extends keyof paths, M extends Method> = NonNullable<paths[P][M]>;

type Parameters<O> = O extends { parameters: infer P } ? P : never;
type PathOf<O> = Parameters<O> extends { path: infer P } ? { path: P } : { path?: never };
type QueryOf<O> = Parameters<O> extends { query?: infer Q } ? { query?: Loose<NonNullable<Q>> } : { query?: never };
type BodyOf<O> = O extends { requestBody: { content: { "application/json": infer B } } }
  ? { body: B }
  : O extends { requestBody?: { content: { "application/json": infer B } } }
    ? { body?: B }
    : { body?: never };

/** A parameter may be left out with an empty text, and a list is sent as its values with commas. */
type Loose<Q> = { [K in keyof Q]?: Q[K] | (Q[K] extends readonly (infer V)[] | undefined ? V : never) | string | null };

export type Options<O> = PathOf<O> &
  QueryOf<O> &
  BodyOf<O> & {
    /** The version that a change is meant for. */
    version?: number;
    /** Whether to send an idempotency key. */
    once?: boolean;
    signal?: AbortSignal;
  };

type Success = 200 | 201 | 202;
export type Result<O> = O extends { responses: infer R }
  ? { [S in keyof R & Success]: R[S] extends { content: { "application/json": infer B } } ? B : never }[keyof R & Success]
  : never;

/** The options may be left out where the operation needs neither an id nor a body. */
type Arguments<O> = O extends { parameters: { path: object } } | { requestBody: object } ? [Options<O>] : [Options<O>?];

export type Call = <M extends Method, P extends With<M>>(
  method: M,
  path: P,
  ...options: Arguments<Operation<P, M>>
) => Promise<Result<Operation<P, M>>>;

type Tables = Extract<With<"get">, `/api/v1/export/${string}` | "/api/v1/companies/{id}/statement">;
export type Download = <P extends Tables>(path: P, options: Options<Operation<P, "get">>) => Promise<string>;
