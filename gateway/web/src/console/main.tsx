// Where the console begins.

import '../shared/base.css';
import './styles/frame.css';
import './styles/parts.css';
import './styles/tables.css';

import { mount } from '../shared/mount';
import { Console } from './Console';

mount(<Console />);
