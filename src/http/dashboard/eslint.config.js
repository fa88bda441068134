// What the compiler does not find. `.ci/dashboard lint` runs it, and a warning is an error.
import js from '@eslint/js'
import { defineConfig, globalIgnores } from 'eslint/config'
import tseslint from 'typescript-eslint'

export default defineConfig(
  globalIgnores(['node_modules/', 'src/api/schema.d.ts']),
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // What a page shows is cleared of control characters, so they are named.
      'no-control-regex': 'off',
      // Playwright reads from the pattern what a fixture needs.
      'no-empty-pattern': ['error', { allowObjectPatternsAsParameters: true }],
      // `signal.aborted` becomes another between two awaits, which narrowing does not know.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // A signal that is read only to be followed is read with `void`.
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true, ignoreVoidOperator: true }],
      // Preact's own types of inputs need some that it calls unnecessary.
      '@typescript-eslint/no-unnecessary-type-assertion': 'off',
      // What an answer holds is said by whoever asks.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
    },
  },
  { files: ['tests/**'], rules: { '@typescript-eslint/no-non-null-assertion': 'off', '@typescript-eslint/require-await': 'off' } },
  // Without types.
  { files: ['**/*.js', '**/*.mjs'], extends: [tseslint.configs.disableTypeChecked], rules: { 'no-undef': 'off' } },
)
