// What is measured in a browser, apart from the tests: `npm run bench`, best with a release build in TENANTRY.
import base from './playwright.config'

export default { ...base, testDir: 'tests/bench', reporter: [['list']], timeout: 900_000 }
