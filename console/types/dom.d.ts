/** What an element can contain. */
export type Child = Node | string | number | false | null | undefined | readonly Child[];
