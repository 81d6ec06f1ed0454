// Where the app begins.

import '../shared/base.css';
import './app.css';

import { mount } from '../shared/mount';
import { App } from './App';

mount(<App />);
